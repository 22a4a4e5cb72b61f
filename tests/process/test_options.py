"""Options that every deployment has: run again after an interruption, as somebody else, within limits."""

from __future__ import annotations

import json
import os
import pwd
import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from agent.options import COMMON
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest, kill
from tests.process.points import killed_at_the_start
from tests.waiting import until

QUICK = {"min_polling_interval": "0.05", "polling_interval": "0.2"}
ATTEMPTS = '#!/bin/sh\necho "attempt-${OS_DEPLOY_AGENT_ATTEMPT-none}" >> $WITNESS\nexec sleep 600\n'
OUTPUT = {"name": "result", "type": "String", "error_output": False}


def killed_runner(guest: Guest) -> None:
    """`--once` is killed with its runner, in the middle of the hook."""
    seen = len(guest.seen())
    guest.start("--once")
    until(lambda: len(guest.seen()) > seen, "the hook to begin")
    kill(guest.runners())
    until(lambda: not guest.runners(), "them to be gone")


def test_an_interrupted_hook_that_asks_for_it_is_run_again_three_times_and_no_more(
    guest: Guest, endpoint: Endpoint
) -> None:
    endpoint.serve(endpoint.script("web", ATTEMPTS, options={"on_interrupt": "rerun"}))
    for _ in range(4):
        killed_runner(guest)

    last = guest.once()

    assert (1, [f"attempt-{number}" for number in (1, 2, 3, 4)]) == (last.status, guest.seen())
    [sent] = endpoint.signals
    assert ("FAILED", True) == (sent.judged, "because this was attempt 4" in sent.stderr)
    assert [] == guest.processes()


@pytest.mark.slow
def test_an_agent_killed_while_it_prepares_the_next_attempt_loses_one_at_most(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    for point, guest in killed_at_the_start(partial(interrupted, endpoint), tmp_path):
        assert guest.seen() in (["attempt-1", "attempt-2"], ["attempt-1", "attempt-3"]), point
        assert ["COMPLETE"] == [sent.judged for sent in endpoint.signals], point
        assert {"id-web": "signalled"} == guest.states(), point


def interrupted(endpoint: Endpoint, root: Path) -> Guest:
    """A guest whose hook was interrupted once; the next attempt ends well."""
    root.mkdir()
    endpoint.signals.clear()
    script = ATTEMPTS.replace("exec sleep", '[ "$OS_DEPLOY_AGENT_ATTEMPT" -gt 1 ] && exit 0\nexec sleep')
    endpoint.serve(endpoint.script("web", script, options={"on_interrupt": "rerun"}))
    guest = Guest(root, endpoint)
    killed_runner(guest)
    return guest


def test_a_runner_that_dies_under_a_living_agent_is_followed_by_the_next_attempt(
    guest: Guest, endpoint: Endpoint
) -> None:
    script = ATTEMPTS.replace("exec sleep", '[ "$OS_DEPLOY_AGENT_ATTEMPT" = 2 ] && exit 0\nexec sleep')
    endpoint.serve(endpoint.script("web", script, options={"on_interrupt": "rerun"}))
    daemon = guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")

    kill((pid for pid in guest.runners() if pid != daemon.pid), signal.SIGTERM)

    [sent] = until(lambda: endpoint.signals, "the outcome")
    assert ("COMPLETE", ["attempt-1", "attempt-2"]) == (sent.judged, guest.seen())


def test_without_the_option_an_interrupted_hook_fails_as_ever(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", ATTEMPTS, options={"on_interrupt": "fail"}))
    killed_runner(guest)

    guest.once()

    assert ["attempt-none"] == guest.seen()
    assert ["interrupted"] == [sent.stderr.split(":")[0] for sent in endpoint.signals]


@pytest.mark.parametrize("user", ["", "nobody"])
def test_the_files_that_an_interrupted_ansible_kept_for_its_run_are_removed(
    open_guest: Guest, endpoint: Endpoint, user: str
) -> None:
    if user and os.geteuid():
        pytest.skip("only root may become somebody else")
    guest = open_guest
    guest.witness.touch()
    guest.witness.chmod(0o666)
    fake = guest.root / "ansible-playbook"
    fake.write_text("#!/bin/sh\necho begin >> $WITNESS\nexec sleep 600\n")
    fake.chmod(0o755)
    endpoint.serve({**endpoint.script("web", "- hosts: all\n", options={"run_as": user}), "group": "ansible"})
    guest.start("--once", environment={"HEAT_ANSIBLE_CMD": str(fake)})
    until(guest.seen, "the hook to begin")
    working = guest.root / f"var/lib/heat-config/heat-config-ansible{'.' if user else ''}{user}"
    assert {"id-web_variables.json", ".id-web.runner", "id-web_playbook.yaml"} == {p.name for p in working.iterdir()}
    kill(guest.runners())
    until(lambda: not guest.runners(), "them to be gone")

    guest.once()

    assert ["id-web_playbook.yaml"] == [path.name for path in working.iterdir()]
    assert [] == guest.processes()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_script_runs_as_the_user_that_it_names(open_guest: Guest, endpoint: Endpoint) -> None:
    script = (
        "#!/bin/sh\nid -un\nid -gn\nid -G\necho $HOME\ntouch here || exit 3\n"
        "printf done > $heat_outputs_path.result\nln -s /etc/shadow $heat_outputs_path.stolen\n"
    )
    known = pwd.getpwnam("nobody")
    outputs = [OUTPUT, {**OUTPUT, "name": "stolen"}]
    endpoint.serve(
        endpoint.script("named", script, options={"run_as": "nobody"}, outputs=outputs),
        endpoint.script("numbered", script, options={"run_as": known.pw_uid}, outputs=outputs),
        endpoint.script("root", "#!/bin/sh\nid -un", options={}),
    )

    open_guest.once()

    groups = " ".join(str(group) for group in os.getgrouplist("nobody", known.pw_gid))
    for name in ("named", "numbered"):
        [sent] = endpoint.of(name)
        assert (0, "") == (sent.body["deploy_status_code"], sent.stderr)
        said = sent.body["deploy_stdout"].splitlines()
        assert ["nobody", "nogroup", groups, known.pw_dir] == said
        assert ("done", None) == (sent.body["result"], sent.body.get("stolen"))
    assert ["root\n"] == [sent.body["deploy_stdout"] for sent in endpoint.of("root")]


def test_a_user_who_is_not_there_is_a_fault_that_says_so(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(
        endpoint.script("web", "#!/bin/sh\ntrue", options={"run_as": "no-such-user"}),
        {**endpoint.script("files", {}, options={"run_as": "nobody"}), "group": "hiera"},
    )

    guest.once()

    assert {65} == {sent.body["deploy_status_code"] for sent in endpoint.signals}
    assert "names 'no-such-user', who is no user of this guest; add the user first" in endpoint.of("web")[0].stderr
    refusal = "its group does not know run_as, remove it: it writes the order of puppet's lookups"
    assert refusal in endpoint.of("files")[0].stderr


LIMITED: list[tuple[dict[str, Any], str, str]] = [
    ({"open_files": 20}, "ulimit -n", "20\n"),
    ({"cpu_time": "7"}, "ulimit -t", "7\n"),
    ({"memory": "64M"}, "ulimit -v", "65536\n"),
    ({"memory": 1 << 26, "open_files": 99}, "ulimit -v; ulimit -n", "65536\n99\n"),
    ({}, "ulimit -v", "unlimited\n"),
]


@pytest.mark.parametrize(("options", "command", "expected"), LIMITED, ids=[str(case[0]) for case in LIMITED])
def test_limits_hold_for_the_program_and_not_for_us(
    guest: Guest, endpoint: Endpoint, options: dict[str, Any], command: str, expected: str
) -> None:
    endpoint.serve(endpoint.script("web", f"#!/bin/sh\n{command}\n", options=options))

    guest.once()

    [sent] = endpoint.signals
    assert (0, expected, "") == (sent.body["deploy_status_code"], sent.body["deploy_stdout"], sent.stderr)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_limit_of_tasks_holds_for_the_user(open_guest: Guest, endpoint: Endpoint) -> None:
    options = {"run_as": "nobody", "tasks": 1}
    endpoint.serve(endpoint.script("web", "#!/bin/sh\nid -un\nsleep 0.1 &\nsleep 0.1 &\nwait\n", options=options))

    open_guest.once()

    [sent] = endpoint.signals
    assert 0 != sent.body["deploy_status_code"]


def test_a_program_that_uses_up_its_time_says_which_signal_ended_it(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\nwhile :; do :; done\n", options={"cpu_time": 1}))

    guest.once()

    [sent] = endpoint.signals
    assert sent.body["deploy_status_code"] in (128 + signal.SIGXCPU, 128 + signal.SIGKILL)
    assert "ended by signal" in sent.stderr


def test_a_missing_interpreter_within_limits_is_still_127(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/no/such/thing\n", options={"open_files": 20}))

    guest.once()

    [sent] = endpoint.signals
    assert 127 == sent.body["deploy_status_code"]
    assert "could not be started within its limits" in sent.stderr


def test_an_unknown_option_is_named_in_both_logs_and_stops_nothing(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\ntrue", options={"color": "blue", "timeout": 9}))

    ended = guest.once()

    [event] = ended.events("unknown option")
    known = f"unknown option color; group script knows {', '.join(sorted(COMMON))}"
    assert (0, known) == (ended.status, event["reason"])
    assert known in (guest.root / "var/log/os-deploy-agent/id-web.log").read_text()
    assert ["COMPLETE"] == [sent.judged for sent in endpoint.signals]


def test_the_options_of_a_program_in_a_hook_directory_are_its_own(guest: Guest, endpoint: Endpoint) -> None:
    hook = guest.root / "var/lib/heat-config/hooks/own"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\ncat")
    hook.chmod(0o755)
    endpoint.serve({**endpoint.script("web", "text", options={"color": "blue"}), "group": "own"})

    ended = guest.once()

    assert [] == ended.events("unknown option")


WAITER = "#!/bin/sh\nuntil grep -q second $WITNESS; do sleep 0.05; done\n"


def test_a_deployment_that_waits_for_the_next_one_ends_where_two_run_at_a_time(
    guest: Guest, endpoint: Endpoint
) -> None:
    guest.witness.touch()
    second = endpoint.script("second", "#!/bin/sh\necho second >> $WITNESS\n")
    endpoint.serve(endpoint.script("first", WAITER, options={"timeout": 600}), second)

    assert 0 == guest.once(max_parallel="2").status


def test_the_outcome_of_a_timeout_names_who_waited_behind_it(guest: Guest, endpoint: Endpoint) -> None:
    guest.witness.touch()
    second = endpoint.script("second", "#!/bin/sh\necho second >> $WITNESS\n")
    endpoint.serve(endpoint.script("first", WAITER, options={"timeout": 1}), second)

    ended = guest.once()

    [first] = endpoint.of("first")
    assert 124 == first.body["deploy_status_code"]
    assert "meanwhile 'second' waited behind it (max_parallel 1)" in first.stderr
    assert ["COMPLETE"] == [sent.judged for sent in endpoint.of("second")]
    assert ["'second'"] == [event["waited"] for event in ended.events("others waited for a deployment that timed out")]
    stored = json.loads((guest.deployed / "id-first.notify.json").read_bytes())
    assert first.body == stored
