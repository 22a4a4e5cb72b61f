"""One command says what stands how and what to do, from the state on disk alone."""

import json
import os
import ssl
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.fakes import Peer, Reply
from tests.operator.conftest import Ask
from tests.operator.terminal import on_terminal
from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.waiting import LONGEST_S, until

QUICK = {"polling_interval": "0.2", "min_polling_interval": "0.1"}
FINE = "#!/bin/sh\necho ran >> $WITNESS\n"
GATED = "#!/bin/sh\necho begin >> $WITNESS\nwhile [ ! -e $WITNESS.open ]; do sleep 0.05; done\n"


def deployments(ask: Ask) -> dict[str, dict[str, Any]]:
    return {line["name"]: line for line in json.loads(ask("status", "--json").stdout)["deployments"]}


def states(ask: Ask) -> dict[str, str]:
    return {name: line["state"] for name, line in deployments(ask).items()}


def test_where_no_agent_has_run_it_says_how_to_start_one(ask: Ask) -> None:
    said = ask("status")

    assert 2 == said.status
    assert "no agent has run here; start it: agent run" in said.stdout


def test_what_is_done_is_fine(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE), endpoint.script("database", FINE))
    guest.once()

    said = ask("status")

    assert (0, {"web": "done", "database": "done"}) == (said.status, states(ask))
    assert "fine: 2 done" in said.stdout
    assert "request  answers, last change" in said.stdout


@pytest.mark.parametrize(("notice", "told"), [("1209600", True), ("60", False)])
def test_a_certificate_that_ends_soon_is_told_with_who_renews_it(
    guest: Guest, endpoint: Endpoint, ask: Ask, authority: Path, notice: str, told: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")  # for two days
    with closing(Peer(context)) as peer:
        peer.answers["/m.json"] = Reply(200, json.dumps({"deployments": [endpoint.script("web", FINE)]}).encode())
        guest.flags |= {"request_metadata_url": f"{peer.url}/m.json", "ca_file": str(authority / "ca.pem")}
        guest.flags |= {"certificate_notice": notice}
        guest.once()

        said = " ".join(ask("status").stdout.split())

    named = {end["name"]: end["soon"] for end in json.loads(ask("status", "--json").stdout)["certificates"]}
    assert {peer.url: told, str(authority / "ca.pem"): False} == named
    assert told is (f"tls certificate of {peer.url} ends in " in said)
    assert told is ("whoever runs that server renews it" in said)


def test_a_failure_comes_with_its_last_words_and_the_next_step(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE), endpoint.script("broken", "#!/bin/sh\necho no disk >&2\nexit 3\n"))
    guest.once()

    said = ask("status")

    assert 1 == said.status
    assert "failed: 1 done, 1 failed" in said.stdout
    assert "status 3: no disk\n  > agent show broken\n" in said.stdout


def test_an_error_output_is_a_failure_as_heat_takes_it(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    outputs = [{"name": "problem", "type": "String", "error_output": True}]
    script = "#!/bin/sh\nprintf oops > $heat_outputs_path.problem\n"
    endpoint.serve(endpoint.script("web", script, outputs=outputs))
    guest.once()

    assert (1, "failed", "error output problem") == (
        ask("status").status,
        deployments(ask)["web"]["state"],
        deployments(ask)["web"]["detail"],
    )


def test_a_source_that_is_down_is_named_with_its_reason_and_the_age_of_what_it_said(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    endpoint.serve(endpoint.script("web", FINE))
    guest.once()
    endpoint.metadata_status = 503
    guest.once()

    said = ask("status")

    assert 2 == said.status
    assert "degraded: 1 done; 1 source down" in said.stdout
    assert "request  down for" in said.stdout
    assert "last change" in said.stdout
    assert "503" in said.stdout
    [source] = json.loads(ask("status", "--json").stdout)["sources"]
    assert source["changed_at"] < source["since"]


def test_an_outcome_that_is_not_taken_says_why_and_when_again(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE))
    endpoint.spoil = answering(503)
    guest.once(once_patience="0")

    said = ask("status")

    assert (2, "unsignalled") == (said.status, states(ask)["web"])
    assert "1 try, " in said.stdout
    assert "503" in said.stdout


def test_an_outcome_that_is_refused_for_good_says_so(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE))
    endpoint.spoil = answering(404)
    guest.once()

    said = ask("status")

    assert (2, "refused") == (said.status, states(ask)["web"])
    assert "> agent signal web, or update the stack" in said.stdout


def test_what_runs_and_what_waits_behind_it(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("first", GATED), endpoint.script("second", FINE))
    daemon = guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")

    said = ask("status")

    assert (0, {"first": "running", "second": "waiting"}) == (said.status, states(ask))
    assert f"agent run, pid {daemon.pid}" in said.stdout
    assert "behind first" in said.stdout


def test_a_group_without_a_hook_is_held_and_says_what_to_install(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE, group="exotic"))
    guest.start("run", hook_grace="600", **QUICK)
    until(lambda: guest.log().events("held"), "the deployment to be held")
    until(lambda: states(ask).get("web") == "held", "the bulletin")

    assert "install a hook for group exotic within" in deployments(ask)["web"]["next_step"]


@pytest.mark.usefixtures("killed")
def test_a_runner_that_was_killed_is_seen_before_an_agent_looks(ask: Ask) -> None:
    said = ask("status")

    assert (2, "interrupted") == (said.status, states(ask)["web"])


def test_what_waits_without_an_agent_says_how_to_start_one(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("first", GATED), endpoint.script("second", FINE))
    daemon = guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")
    daemon.terminate()
    daemon.wait(LONGEST_S)

    said = ask("status")

    assert (2, {"first": "running", "second": "waiting"}) == (said.status, states(ask))
    assert "no agent runs, and 1 deployment waits for one; start it: agent run" in said.stdout


def test_waiting_ends_with_the_last_deployment(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", GATED))
    guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")
    waiting = subprocess.Popen(
        [*guest.argv("status"), "--wait", "600"], env=guest.environment(), stdout=subprocess.PIPE, text=True
    )
    Path(f"{guest.witness}.open").touch()

    said, _ = waiting.communicate(timeout=LONGEST_S)

    assert (0, 1) == (
        waiting.returncode,
        said.count("done\n") or said.count("done "),
    ), said
    assert "fine: 1 done" in said


def test_waiting_in_vain_ends_with_degraded(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", GATED))
    guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")

    said = ask("status", "--wait", "0.1")

    assert 2 == said.status
    assert "still to be done after 100 ms" in said.stderr


def test_a_look_changes_nothing_on_disk(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE))
    guest.once()
    (guest.state / "journal/torn.json").write_text("{")
    before = {path: path.stat().st_mtime_ns for path in guest.root.rglob("*")}

    ask("status")
    ask("history")
    ask("show", "web")

    assert before == {path: path.stat().st_mtime_ns for path in guest.root.rglob("*")}


def test_an_idle_daemon_posts_nothing(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE))
    guest.start("run", **QUICK)
    until(lambda: guest.states() == {"id-web": "signalled"}, "the deployment to be done")
    posted = guest.state / "bulletin.json"
    polls = endpoint.polls
    until(lambda: endpoint.polls > polls + 2, "the last news to be posted")
    before, polls = posted.stat().st_ino, endpoint.polls
    until(lambda: endpoint.polls > polls + 3, "three polls without news")

    assert before == posted.stat().st_ino


def test_who_may_not_read_the_state_is_told_who_may(guest: Guest, endpoint: Endpoint) -> None:
    require(os.geteuid() == 0, "another user needs root")
    endpoint.serve(endpoint.script("web", FINE))
    guest.once()
    for directory in (guest.root, *list(guest.root.parents)[:-2]):
        directory.chmod(0o755)

    program = (
        "import locale, os, sys, agent.settings, agent.cli.status\n"
        "from agent.cli.main import main\n"
        "os.setuid(65534)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", program, *guest.argv("status")[3:]],
        env=guest.environment(),
        cwd="/",
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )

    assert (74, "") == (said.returncode, said.stdout), said.stderr
    assert "Permission denied; run this as root, or as the user that the agent runs as" in said.stderr
    assert "Traceback" not in said.stderr


def test_no_line_is_wider_than_a_terminal_and_none_is_coloured_in_a_pipe(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    long = "words " * 60
    endpoint.serve(endpoint.script("name-" * 8, f"#!/bin/sh\necho {long} >&2\nexit 1\n", group="script"))
    endpoint.spoil = answering(503)
    guest.once(once_patience="0")

    said = ask("status")

    assert max(len(line) for line in said.stdout.splitlines()) <= 80
    assert "\x1b" not in said.stdout


@pytest.mark.parametrize(("variable", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_a_terminal_gets_colours_unless_it_wants_none(
    guest: Guest, endpoint: Endpoint, variable: dict[str, str], coloured: bool
) -> None:
    endpoint.serve(endpoint.script("web", FINE))
    guest.once()

    shown = on_terminal(guest.argv("status"), guest.environment(**{"TERM": "xterm", **variable}), guest.root)

    assert coloured is ("\x1b[32mfine\x1b[0m" in shown)
    assert "fine" in shown


def test_names_and_words_from_outside_do_nothing_to_a_terminal(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    evil = "\x1b]0;owned\x07web"
    endpoint.serve({**endpoint.script("web", "#!/bin/sh\nprintf '\\033[2Jgone' >&2\nexit 1\n"), "name": evil})
    guest.once()

    said = ask("status")

    assert "\x1b" not in said.stdout
    assert "\x07" not in said.stdout
    assert "gone" in said.stdout


def test_a_secret_in_the_last_words_is_masked(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho token=s3same-open >&2\nexit 1\n"))
    guest.once()

    assert "token=***" in ask("status").stdout
    assert "s3same" not in ask("status").stdout + ask("status", "--json").stdout


def test_a_stack_that_the_old_dispatcher_ran_is_done(guest: Guest, ask: Ask) -> None:
    guest.deployed.mkdir(parents=True)
    (guest.state / "journal").mkdir(parents=True)
    (guest.deployed / "id-old.json").write_text(json.dumps({"id": "id-old", "name": "old", "group": "script"}))
    (guest.state / "documents").mkdir()
    stored = {"source": "local", "name": "local", "content": {"deployments": [{"id": "id-old", "name": "old"}]}}
    (guest.state / "documents/local.json").write_text(json.dumps(stored))

    assert "done" == states(ask)["old"]
    assert "by the old tools" == deployments(ask)["old"]["detail"]


def test_what_waits_for_the_phases_of_the_guest_says_so(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    script = guest.root / "usr/libexec/os-refresh-config/pre-configure.d/10-broken"
    script.parent.mkdir(parents=True)
    script.write_text("#!/bin/sh\nexit 7\n")
    script.chmod(0o755)
    endpoint.serve(endpoint.script("web", FINE))
    guest.start("run", **QUICK)
    until(lambda: guest.log().events("phases failed"), "the phases to fail")
    until(lambda: "10-broken" in ask("status").stdout, "the bulletin")

    assert (2, "waiting") == (ask("status").status, states(ask)["web"])
    assert "for the phases of this guest" == deployments(ask)["web"]["detail"]
    assert "they are run again by themselves" in " ".join(ask("status").stdout.split())


def test_waiting_after_a_boot_is_for_the_agent_of_this_boot(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE))
    guest.once()
    stat = guest.root / "proc/stat"
    stat.parent.mkdir()

    stat.write_text(f"btime {int(time.time()) + 3600}\n")
    assert 2 == ask("status", "--wait", "0.1").status, "what is done was done before the boot"

    stat.write_text(f"btime {int(time.time()) - 3600}\n")
    assert 0 == ask("status", "--wait", "0.1").status


def test_it_loads_nothing_that_it_does_not_need(guest: Guest, endpoint: Endpoint) -> None:
    """Its cost is what it imports: 60 ms of CPU are the budget on a small machine."""
    endpoint.serve(endpoint.script("web", FINE))
    guest.once()
    plain = [word for word in guest.argv("status")[1:6] if word != "--collectors"]

    trace = subprocess.run(
        [sys.executable, "-X", "importtime", *plain],
        env=guest.environment(),
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )

    loaded = {line.rpartition("|")[2].strip() for line in trace.stderr.splitlines()}
    assert "agent.view.status" in loaded
    spared = {
        "requests",
        "structlog",
        "yaml",
        "subprocess",
        "socket",
        "ssl",
        "selectors",
        "logging",
        "hashlib",
        "shutil",
    }
    spared |= {
        f"agent.{name}"
        for name in ("engine", "metadata", "transport", "dispatch", "runner", "hooks", "collectors", "process")
    }
    assert set() == loaded & spared
