"""The phases as part of the agent's own cycle: real scripts around real hooks, killed, late, failing or unchanged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent import phases
from tests import hours
from tests.conftest import CHECKOUT
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest, alive, kill
from tests.waiting import LONGEST_S, until

BASE = "usr/libexec/os-refresh-config"
TREE = "usr/libexec/os-apply-config/templates"
BASH_SETS = ("PWD", "OLDPWD", "SHLVL", "_")


def script(guest: Guest, name: str, text: str) -> Path:
    """A script of a phase, `configure.d/10-x`."""
    path = guest.root / BASE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def witness(guest: Guest, *names: str) -> None:
    """Scripts that leave their names."""
    for name in names:
        script(guest, name, f'echo {name.rpartition("/")[2]} >>"$WITNESS"')


def template(guest: Guest, name: str, text: str) -> None:
    path = guest.root / TREE / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def hook(endpoint: Endpoint, name: str) -> dict[str, object]:
    return endpoint.script(name, f'echo hook-{name} >>"$WITNESS"')


def log_of_phases(guest: Guest) -> str:
    return (guest.root / "var/log/os-deploy-agent/phases.log").read_text()


def test_templates_and_deployments_have_their_old_places_among_the_scripts(guest: Guest, endpoint: Endpoint) -> None:
    witness(guest, "pre-configure.d/5-first", "configure.d/50-mid", "post-configure.d/1-post", "migration.d/1-last")
    template(guest, "made", "{{place}}")
    for name in ("10-early", "99-late"):
        script(guest, f"configure.d/{name}", f'echo {name}=$(cat "{guest.root}/made" 2>&1 | tail -c 5) >>"$WITNESS"')
    endpoint.serve(hook(endpoint, "a"), hook(endpoint, "b"), place="here")

    done = guest.once()

    early, late = "10-early=tory", "99-late=here"
    expected = ["5-first", early, "50-mid", "hook-a", "hook-b", late, "1-post", "1-last"]
    assert (0, expected) == (done.status, guest.seen())
    assert ["COMPLETE", "COMPLETE"] == [sent.judged for sent in endpoint.signals]


def test_the_scripts_that_did_this_work_are_left_out_and_the_log_says_so(guest: Guest, endpoint: Endpoint) -> None:
    witness(guest, f"configure.d/{phases.TEMPLATES}", f"configure.d/{phases.DISPATCH}", "configure.d/60-own")
    endpoint.serve(hook(endpoint, "a"))

    done = guest.once()

    assert (0, ["hook-a", "60-own"]) == (done.status, guest.seen())
    left_out = [line for line in log_of_phases(guest).splitlines() if "Leaving out" in line]
    assert [True, True] == [any(name in line for line in left_out) for name in (phases.TEMPLATES, phases.DISPATCH)]


def test_unchanged_metadata_runs_nothing_again_and_changed_metadata_does(guest: Guest, endpoint: Endpoint) -> None:
    witness(guest, "configure.d/10-script")
    endpoint.serve(hook(endpoint, "a"))
    guest.once()
    guest.once()
    assert ["10-script", "hook-a"] == guest.seen()

    endpoint.serve(hook(endpoint, "a"), more="metadata")
    done = guest.once()

    assert (0, ["10-script", "hook-a", "10-script"]) == (done.status, guest.seen())


def test_removing_the_record_runs_them_once_more(guest: Guest, endpoint: Endpoint) -> None:
    witness(guest, "configure.d/10-script")
    endpoint.serve(any="thing")
    guest.once()

    (guest.state / "phases.json").unlink()
    guest.once()

    assert ["10-script", "10-script"] == guest.seen()


def test_a_guest_without_templates_and_scripts_has_no_trace_of_phases(guest: Guest, endpoint: Endpoint) -> None:
    (guest.root / BASE / "configure.d").mkdir(parents=True)
    (guest.root / TREE).mkdir(parents=True)
    endpoint.serve(hook(endpoint, "a"))

    done = guest.once()

    assert (0, ["hook-a"]) == (done.status, guest.seen())
    assert not (guest.root / "var/lib/os-collect-config").exists()
    assert not (guest.root / "var/log/os-deploy-agent/phases.log").exists()
    assert not (guest.state / "phases.json").exists()


def test_scripts_find_the_metadata_where_they_always_did(guest: Guest, endpoint: Endpoint) -> None:
    script(guest, "configure.d/10-script", 'echo "$OS_CONFIG_FILES" >>"$WITNESS"')
    data = {**endpoint.script("data", {"from": "deployment"}), "group": "Heat::Ungrouped"}
    endpoint.serve(data, any="thing")

    done = guest.once()

    cache = guest.root / "var/lib/os-collect-config"
    assert (0, [f"{cache}/request.json:{cache}/data.json"]) == (done.status, guest.seen())
    assert guest.seen()[0].split(":") == json.loads((cache / "os_config_files.json").read_text())
    assert {"from": "deployment"} == json.loads((cache / "data.json").read_text())
    assert "thing" == json.loads((cache / "request.json.last").read_text())["any"]


def test_data_of_a_deployment_is_there_for_the_templates(guest: Guest, endpoint: Endpoint) -> None:
    template(guest, "made", "{{from}}")
    endpoint.serve({**endpoint.script("data", {"from": "the deployment"}), "group": "os-apply-config"})

    done = guest.once()

    assert (0, "the deployment") == (done.status, (guest.root / "made").read_text())
    assert ["COMPLETE"] == [sent.judged for sent in endpoint.signals]


def test_settings_that_a_template_makes_hold_at_once(guest: Guest, endpoint: Endpoint) -> None:
    template(guest, "etc/os-collect-config.conf", "[DEFAULT]\ndeployment_key = {{key}}\n")
    endpoint.serve(hook(endpoint, "a"), others=[hook(endpoint, "b")], key="others")

    done = guest.once()

    assert (0, ["hook-a", "hook-b"]) == (done.status, guest.seen())
    assert 1 == len(done.events("phases succeeded"))


# ------------------------------------------------------------------------------------------------ failures


def test_a_failing_script_ends_the_run_and_once_fails_who_waits_with_its_name(guest: Guest, endpoint: Endpoint) -> None:
    witness(guest, "configure.d/99-never", "migration.d/1-never")
    script(guest, "configure.d/30-broken", "exit 7")
    script(guest, "error.d/1-told", 'echo "$OS_REFRESH_CONFIG_FAILED_SCRIPT" >>"$WITNESS"')
    endpoint.serve(hook(endpoint, "a"))

    done = guest.once()

    [sent] = endpoint.signals
    assert (1, "FAILED", ["30-broken"]) == (done.status, sent.judged, guest.seen())
    assert "configure.d/30-broken ended with status 7" in sent.stderr
    assert "phases.log" in sent.stderr


def test_failing_phases_alone_are_degraded_and_are_tried_again(guest: Guest, endpoint: Endpoint) -> None:
    script(guest, "configure.d/30-broken", 'echo ran >>"$WITNESS"; exit 7')
    endpoint.serve(any="thing")

    first, second = guest.once(), guest.once()

    assert (2, 2, ["ran", "ran"]) == (first.status, second.status, guest.seen())
    assert "30-broken" in first.events("phases failed")[0]["reason"]


def test_a_script_that_fails_behind_the_deployments_repeats_no_hook(guest: Guest, endpoint: Endpoint) -> None:
    script(guest, "configure.d/70-broken", 'echo broken >>"$WITNESS"; test -e "$WITNESS.mended"')
    endpoint.serve(hook(endpoint, "a"))
    failed = guest.once()
    (guest.root / "witness.mended").touch()

    mended = guest.once()

    assert (2, 0) == (failed.status, mended.status)
    assert ["hook-a", "broken", "broken"] == guest.seen()
    assert ["COMPLETE"] == [sent.judged for sent in endpoint.signals]


def test_deployments_wait_for_phases_that_fail_until_these_are_mended(guest: Guest, endpoint: Endpoint) -> None:
    script(guest, "pre-configure.d/1-late", 'echo tried >>"$WITNESS"; test -e "$WITNESS.mended"')
    endpoint.serve(hook(endpoint, "a"))
    guest.start("run", min_polling_interval="0.1", polling_interval="0.5")
    until(lambda: guest.seen().count("tried") > 2, "three tries")
    assert not endpoint.signals

    (guest.root / "witness.mended").touch()

    [sent] = until(lambda: endpoint.signals, "the deployment to be run")
    assert "COMPLETE" == sent.judged
    until(lambda: guest.log().events("phases succeeded"), "the end of the phases")
    assert 1 == guest.seen().count("hook-a")


def test_nobody_waits_for_ever_for_phases_that_fail(guest: Guest, endpoint: Endpoint) -> None:
    script(guest, "pre-configure.d/1-broken", 'echo tried >>"$WITNESS"; exit 3')
    endpoint.serve(hook(endpoint, "a"))

    guest.start("run", min_polling_interval="0.1", polling_interval="0.2", phases_patience="1")

    [sent] = until(lambda: endpoint.signals, "the deployment to be given up")
    assert "FAILED" == sent.judged
    assert "pre-configure.d/1-broken ended with status 3" in sent.stderr
    assert "tried" in guest.seen()
    assert "hook-a" not in guest.seen()


def test_who_waited_in_vain_is_answered_without_a_unit(guest: Guest, endpoint: Endpoint) -> None:
    script(guest, "pre-configure.d/1-broken", "exit 3")
    endpoint.serve(hook(endpoint, "a"))
    guest.once()
    [sent] = endpoint.signals
    for path in guest.deployed.iterdir():
        path.unlink()

    guest.once(runner="unit")

    again = endpoint.signals[-1]
    assert "FAILED" == again.judged == sent.judged
    assert "no deployment begins before they succeed" in again.stderr
    assert [] == guest.seen()


def test_a_template_that_cannot_be_rendered_is_named_to_who_waits(guest: Guest, endpoint: Endpoint) -> None:
    template(guest, "etc/broken", "{{#never closed}}")
    witness(guest, "configure.d/50-never")
    endpoint.serve(hook(endpoint, "a"))

    done = guest.once()

    [sent] = endpoint.signals
    assert (1, []) == (done.status, guest.seen())
    assert "etc/broken" in sent.stderr


def test_a_run_that_somebody_else_makes_is_waited_for(guest: Guest, endpoint: Endpoint) -> None:
    witness(guest, "configure.d/10-script")
    endpoint.serve(hook(endpoint, "a"))
    path = guest.root / "var/run/os-refresh-config.lock"
    path.parent.mkdir(parents=True)
    held = phases.Lock(path)

    busy = guest.once()
    held.release()
    done = guest.once()

    assert (2, 0, ["10-script", "hook-a"]) == (busy.status, done.status, guest.seen())
    assert f"pid=={os.getpid()}" in busy.events("phases failed")[0]["reason"]


# -------------------------------------------------------------------------------------- deadline and crash


def test_the_deadline_ends_every_descendant_but_not_the_hooks(guest: Guest, endpoint: Endpoint, tmp_path: Path) -> None:
    daemon = f"echo $$ > {guest.root}/pid; touch {tmp_path}/hours/later; exec sleep 600"
    script(guest, "configure.d/70-slow", f"setsid sh -c '{daemon}' & sleep 600")
    endpoint.serve(endpoint.script("a", f"touch {tmp_path}/hours/one; echo hook >>$WITNESS"))

    done = guest.once(phases_timeout="60", hook_timeout="7200", environment=hours.variables(tmp_path / "hours"))

    [sent] = endpoint.signals
    assert (2, "COMPLETE", ["hook"]) == (done.status, sent.judged, guest.seen())
    assert "phases_timeout" in done.events("phases failed")[0]["reason"]
    assert not alive(int((guest.root / "pid").read_text()))


def test_a_template_that_never_ends_is_ended(guest: Guest, endpoint: Endpoint) -> None:
    template(guest, "made", "#!/bin/sh\nsleep 60\n")
    (guest.root / TREE / "made").chmod(0o755)
    endpoint.serve(any="thing")

    done = guest.once(template_timeout="1")

    assert 2 == done.status
    assert "made was ended after 1 s" in done.events("phases failed")[0]["reason"]


@pytest.mark.parametrize("where", ["pre-configure.d", "configure.d", "migration.d"])
def test_phases_that_were_killed_run_again_and_no_hook_does(guest: Guest, endpoint: Endpoint, where: str) -> None:
    name = f"{where}/60-here"
    script(guest, name, 'echo begun >>"$WITNESS"; test -e "$WITNESS.second" || exec sleep 60')
    endpoint.serve(hook(endpoint, "a"))
    first = guest.start("run")
    until(lambda: "begun" in guest.seen(), "the script to begin")
    kill(guest.processes())
    first.wait(LONGEST_S)
    (guest.root / "witness.second").touch()

    done = guest.once()

    assert (0, 2, 1) == (done.status, guest.seen().count("begun"), guest.seen().count("hook-a"))
    assert ["COMPLETE"] == [sent.judged for sent in endpoint.signals]


def test_an_agent_that_stops_while_a_hook_runs_leaves_no_run_of_the_phases_behind(
    guest: Guest, endpoint: Endpoint
) -> None:
    witness(guest, "configure.d/10-before", "configure.d/90-behind")
    endpoint.serve(endpoint.script("a", 'echo hook >>"$WITNESS"; until test -e "$WITNESS.go"; do sleep 0.1; done'))
    first = guest.start("run")
    until(lambda: "hook" in guest.seen(), "the hook to begin")
    first.terminate()
    first.wait(LONGEST_S)
    guest.start("run")
    until(lambda: guest.log().events("runner taken over"), "the next agent")

    (guest.root / "witness.go").touch()

    until(lambda: guest.log().events("phases succeeded"), "the phases to be run again")
    assert ["10-before", "hook", "10-before", "90-behind"] == guest.seen()
    assert ["COMPLETE"] == [sent.judged for sent in endpoint.signals]


def test_a_run_outlives_its_agent_and_its_success_counts(guest: Guest, endpoint: Endpoint) -> None:
    script(guest, "migration.d/1-slow", 'echo begun >>"$WITNESS"; until test -e "$WITNESS.go"; do sleep 0.1; done')
    endpoint.serve(any="thing")
    first = guest.start("run")
    until(lambda: "begun" in guest.seen(), "the last script to begin")
    first.terminate()
    first.wait(LONGEST_S)

    (guest.root / "witness.go").touch()
    until(lambda: not guest.runners(), "the run to end")
    done = guest.once()

    assert (0, ["begun"]) == (done.status, guest.seen())


# --------------------------------------------------------------------------------------- beside the original


def test_scripts_have_the_environment_that_the_original_gives_them(guest: Guest, endpoint: Endpoint) -> None:
    peers = original()
    script(guest, "configure.d/10-script", 'cat /proc/self/environ >"$SEEN"')
    endpoint.serve(any="thing")
    base, cache = guest.root / BASE, guest.root / "var/lib/os-collect-config"
    cache.mkdir(parents=True)
    configuration = guest.root / "theirs.conf"
    configuration.write_text(
        f"[DEFAULT]\ncollectors = request\ncommand = os-refresh-config --lockfile {guest.root}/lock\n"
        f"cachedir = {cache}\nbackup_cachedir = {guest.root}/backup\n"
        f"[request]\nmetadata_url = {endpoint.metadata_url}\n"
    )
    shared = {
        **guest.environment(OS_REFRESH_CONFIG_BASE_DIR=str(base), LANG="C.UTF-8"),
        "PATH": f"{peers / 'bin'}:{os.defpath}",
        "SEEN": str(guest.root / "environment"),
    }
    del shared["PYTHONPATH"]  # of this test alone: the agent keeps its own to itself

    command = [peers / "bin/os-collect-config", "--config-file", configuration, "--one-time"]
    subprocess.run(command, env=shared, check=True, capture_output=True, timeout=LONGEST_S)
    theirs = seen_environment(guest)
    done = guest.once(environment=shared)

    assert (0, theirs) == (done.status, seen_environment(guest))


def original() -> Path:
    """The environment of the old tools, made on first use."""
    maker = [sys.executable, str(CHECKOUT / ".ci/environment"), str(CHECKOUT / ".ci/locks/peers.txt")]
    made = subprocess.run(maker, stdout=subprocess.PIPE, text=True, check=False)
    if made.returncode and not os.environ.get("CI"):
        pytest.skip("the old tools cannot be installed here")
    assert not made.returncode
    return Path(made.stdout.strip())


def seen_environment(guest: Guest) -> dict[str, str]:
    """What the script saw, without what each bash sets for itself."""
    pairs = (guest.root / "environment").read_text().rstrip("\0").split("\0")
    return {name: value for name, _, value in (pair.partition("=") for pair in pairs) if name not in BASH_SETS}
