"""`agent plan`: it tells what a cycle then does, and leaves no trace of having looked."""

import json
import os
from pathlib import Path
from typing import Any

from tests.operator.conftest import Ask
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest
from tests.process.test_phases import TREE, hook, script, template, witness

SECRET = "hunter-two"


def traces(root: Path) -> dict[str, tuple[int, ...]]:
    """Everything below a directory: which file it is, and when it was last changed in any way."""
    found = {}
    for directory, names, files in os.walk(root):
        for path in [Path(directory), *(Path(directory, name) for name in (*names, *files))]:
            seen = path.lstat()
            found[str(path)] = (seen.st_ino, seen.st_mode, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)
    return found


def planned(ask: Ask, *words: str) -> tuple[int, dict[str, Any]]:
    done = ask("plan", "--json", *words)
    assert not done.stderr, done.stderr
    return done.status, json.loads(done.stdout)


def steps(found: dict[str, Any]) -> list[tuple[str, str]]:
    return [(due["name"], due["step"]) for due in found["deployments"]]


def test_looking_ahead_on_a_new_guest_leaves_no_trace_and_runs_nothing(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    witness(guest, "configure.d/10-script")
    template(guest, "made", "{{place}}")
    template(guest, "program", '#!/bin/sh\necho program >>"$WITNESS"')
    (guest.root / TREE / "program").chmod(0o755)
    endpoint.serve(hook(endpoint, "a"), place="here")
    before = traces(guest.root)

    status, found = planned(ask, "--fetch")
    silent = ask("plan", "--fetch", "--diff")

    assert before == traces(guest.root)
    assert (1, 1, [("a", "run")]) == (status, silent.status, steps(found))
    assert ([], [], []) == (guest.seen(), endpoint.signals, endpoint.tries)
    assert {f"{guest.root}/made": "created"} == found["files"]
    assert [f"{guest.root}/program"] == found["programs"]


def test_what_it_tells_is_what_the_cycle_does_and_then_nothing_is_to_do(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    witness(guest, "pre-configure.d/5-one", "configure.d/10-two", "configure.d/60-three", "migration.d/1-four")
    template(guest, "made", "{{place}}")
    endpoint.serve(hook(endpoint, "a"), hook(endpoint, "b"), place="here")
    _, before = planned(ask, "--fetch")

    guest.once()
    status, after = planned(ask)

    scripts = [name for names in before["phases"]["scripts"].values() for name in names]
    hooks = [f"hook-{name}" for name, step in steps(before) if step == "run"]
    at = scripts.index("55-heat-config")
    told = [name for name in [*scripts[:at], *hooks, *scripts[at + 1 :]] if name != "20-os-apply-config"]
    assert told == guest.seen()
    assert all(Path(path).exists() for path in before["files"])
    assert (0, [], {}) == (status, after["deployments"], after["files"])


def test_without_fetch_it_goes_by_what_the_sources_said_last(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(hook(endpoint, "a"))
    guest.once()
    endpoint.serve(hook(endpoint, "a"), hook(endpoint, "b"))
    polls = endpoint.polls

    status, found = planned(ask)
    assert (0, [], polls) == (status, found["deployments"], endpoint.polls)

    status, found = planned(ask, "--fetch")
    assert (1, [("b", "run")]) == (status, steps(found))


def test_differences_are_shown_and_content_that_not_everybody_may_read_is_not(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    template(guest, "etc/open", "place {{place}}\n")
    template(guest, "etc/closed", "password {{password}}\n")
    (guest.root / TREE / "etc/closed.oac").write_text("mode: 0600\n")
    (guest.root / "etc").mkdir(exist_ok=True)
    (guest.root / "etc/open").write_text("place there\n")
    endpoint.serve(place="here", password=SECRET)

    done = ask("plan", "--fetch", "--diff")

    assert 1 == done.status
    assert "-place there" in done.stdout
    assert "+place here" in done.stdout
    assert f"created {guest.root}/etc/closed" in done.stdout
    assert SECRET not in done.stdout


def test_each_deployment_has_its_step_and_the_reason(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    unknown = {**endpoint.script("unknown", ""), "group": "nobody-knows"}
    faulty = {**endpoint.script("faulty", ""), "options": "no map"}
    endpoint.serve(hook(endpoint, "plain"), unknown, faulty)

    status, found = planned(ask, "--fetch")

    assert 1 == status
    assert [("plain", "run"), ("unknown", "hold"), ("faulty", "fail")] == steps(found)
    why = {due["name"]: due["why"] for due in found["deployments"]}
    assert "it is new" == why["plain"]
    assert "nobody-knows" in why["unknown"]
    assert "options" in why["faulty"]
    assert ["built in", "", ""] == [due["hook"] for due in found["deployments"]]


def test_an_outcome_that_waits_would_be_sent_and_one_that_left_be_dropped(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    endpoint.serve(hook(endpoint, "a"))
    endpoint.spoil = lambda request, _name: bool(request.send_error(503)) or True
    guest.once(once_patience="0.1")
    os.utime(next(guest.state.glob("journal/*.json")))
    record = next(guest.state.glob("journal/*.json"))
    record.write_text(json.dumps({**json.loads(record.read_text()), "next_try_at": 0}))

    _, waiting = planned(ask)
    endpoint.serve()
    _, left = planned(ask, "--fetch")

    assert [("a", "signal")] == steps(waiting)
    assert [("a", "drop")] == steps(left)


def test_the_sections_of_a_cfn_init_document_are_named(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    config = {
        "config": {
            "packages": {"apt": {"nginx": ["1.2"]}},
            "files": {"/etc/a": {"content": SECRET}},
            "commands": {"10-do": {"command": f"echo {SECRET}"}},
            "services": {"systemd": {"nginx": {"ensureRunning": True}}},
        }
    }
    broken = {"config": {"packages": "all of them"}}
    endpoint.serve(
        {**endpoint.script("good", config), "group": "cfn-init"},
        {**endpoint.script("bad", broken), "group": "cfn-init"},
    )

    _, found = planned(ask, "--fetch")
    page = ask("plan", "--fetch")

    good, bad = found["deployments"]
    named = {"packages": ["apt nginx 1.2"], "files": ["/etc/a"], "commands": ["10-do"], "services": ["systemd nginx"]}
    assert ("run", named) == (good["step"], good["sections"])
    assert "fail" == bad["step"]
    assert "config.packages" in bad["why"]
    assert SECRET not in page.stdout


def test_the_files_of_a_deployment_are_told_and_nothing_of_them_is_there(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    place = "/srv/open.json"
    json_file = {**endpoint.script("json", {place: {"a": 1}, "/srv/closed.json": SECRET}), "group": "json-file"}
    unfit = {**endpoint.script("unfit", {"relative": 1}), "group": "json-file"}
    text = {"files": {"/srv/text": {"content": "hello\n", "mode": "0644"}}}
    files = {**endpoint.script("files", text), "group": "files"}
    (guest.root / "srv").mkdir()
    (guest.root / "srv/open.json").write_text("old\n")
    endpoint.serve(json_file, unfit, files)
    before = traces(guest.root)

    _, found = planned(ask, "--fetch")
    page = ask("plan", "--fetch", "--diff").stdout

    assert before == traces(guest.root)
    assert [("json", "run"), ("unfit", "fail"), ("files", "run")] == steps(found)
    of_json, _, of_files = (due["files"] for due in found["deployments"])
    assert {f"{guest.root}{place}": "changed", f"{guest.root}/srv/closed.json": "created"} == of_json
    assert {f"{guest.root}/srv/text": "created"} == of_files
    assert "-old" in page
    assert "+hello" in page
    assert SECRET not in page


def test_a_template_that_cannot_be_rendered_is_told(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    template(guest, "etc/broken", "{{#never closed}}")
    endpoint.serve(any="thing")

    status, found = planned(ask, "--fetch")

    assert 1 == status
    assert "etc/broken" in found["files_fault"]


def test_a_source_that_is_down_is_named_and_its_last_document_counts(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    script(guest, "configure.d/10-broken", "exit 1")
    endpoint.serve(any="thing")
    guest.once()
    endpoint.metadata_status = 503

    done = ask("plan", "--fetch")

    assert 1 == done.status
    assert "request did not answer" in done.stdout
    assert "phases  would be run: they failed last" in done.stdout


def test_settings_that_are_wrong_are_an_error(guest: Guest, ask: Ask) -> None:
    path = guest.root / "etc/os-deploy-agent/a.conf"
    path.parent.mkdir(parents=True)
    path.write_text("[DEFAULT]\npolling_interval = often\n")

    done = ask("plan")

    assert (2, "") == (done.status, done.stdout)
    assert "polling_interval" in done.stderr
