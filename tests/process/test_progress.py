"""The steps of a hook are shown elsewhere than in its signal, and cost it nothing when that place is down."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.waiting import LONGEST_S, until

HANDS_OVER = """
import json, os, subprocess, sys
from pathlib import Path
from agent import parse, progress, state
from agent.identity import Tokens
from agent.journal import Journal
from agent.metadata import places
from agent.settings import Given
from agent.transport import Client, Limits
settings = Given(Path(sys.argv[1])).settings()
deployment = parse.deployment(json.loads(sys.argv[2]))
journal = Journal(places(settings))
journal.open()
lock = state.try_lock(journal.lock_path(deployment.key))
journal.begin(deployment)
journal.finish(deployment.key, {"deploy_status_code": 0})
inherits = "until [ -e $WITNESS.open ]; do sleep 0.1; done & exit 0"
runner = subprocess.Popen(["sh", "-c", inherits], pass_fds=[lock.fileno()])
lock.release()
progress.follow(deployment, os.pidfd_open(runner.pid), journal, settings, Tokens(Client(Limits())))
"""
SPEAKS = """#!/bin/sh -e
echo "half way" >> "$heat_progress_path"
until [ -e $WITNESS.shown ]; do sleep 0.1; done
echo "nearly there" > "$heat_progress_path"
echo "$heat_progress_path" >> $WITNESS
"""


def handle(endpoint: Endpoint) -> str:
    return f"http://127.0.0.1:{endpoint.port}/v1/signal/arn%3Aopenstack%3Aheat%3A%3Ap%3Astacks/s/u/resources/handle"


def shown(endpoint: Endpoint) -> list[dict[str, str]]:
    return [signal.body for signal in endpoint.of("handle")]


def reasons(endpoint: Endpoint) -> list[str]:
    return [body["reason"].rpartition(" after")[0] or body["reason"] for body in shown(endpoint)]


def test_a_hooks_beginning_words_and_end_are_events_of_the_handle(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", SPEAKS, options={"progress": handle(endpoint)}))
    once = guest.start("--once")
    until(lambda: "web: half way" in reasons(endpoint), "the first words to be shown")
    Path(f"{guest.witness}.shown").touch()

    assert 0 == once.wait(LONGEST_S)

    until(lambda: not guest.processes(), "the last event to be shown")
    assert ["web: started", "web: half way", "web: nearly there", "web: ended with status 0"] == reasons(endpoint)
    assert [("SUCCESS", "web")] * 4 == [(body["status"], body["id"]) for body in shown(endpoint)]
    assert ["COMPLETE"] == [signal.judged for signal in endpoint.of("web")]
    assert [] == list(guest.root.rglob("var/run/heat-config/progress/*"))
    [path] = guest.seen()
    assert path.startswith(str(guest.root))


def test_the_daemon_shows_a_failure_as_the_end_and_the_stack_learns_it_from_the_signal_alone(
    guest: Guest, endpoint: Endpoint
) -> None:
    inputs = {"name": "progress_handle", "type": "String", "value": handle(endpoint)}
    deployment = endpoint.script("web", "#!/bin/sh\nexit 3\n")
    endpoint.serve({**deployment, "inputs": [*deployment["inputs"], inputs]})

    guest.start("run", min_polling_interval="0.05", polling_interval="0.2")

    until(lambda: len(shown(endpoint)) == 2, "both events")
    assert ["web: started", "web: ended with status 3"] == reasons(endpoint)
    assert {"SUCCESS"} == {body["status"] for body in shown(endpoint)}
    assert ["FAILED"] == [signal.judged for signal in endpoint.of("web")]


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_handle_that_says_no_changes_no_outcome_and_is_named_in_the_live_log(
    guest: Guest, endpoint: Endpoint, status: int
) -> None:
    no = answering(status)
    endpoint.spoil = lambda request, name: name == "handle" and no(request, name)
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho hello\n", options={"progress": handle(endpoint)}))

    assert 0 == guest.once().status

    until(lambda: not guest.processes(), "the last try to be over")
    assert ["COMPLETE"] == [signal.judged for signal in endpoint.of("web")]
    live = (guest.root / "var/log/os-deploy-agent/id-web.log").read_text()
    assert "hello\n" in live
    assert f"answered {status}" in live


def test_a_handle_that_hangs_delays_no_outcome(guest: Guest, endpoint: Endpoint) -> None:
    arrived: list[bool] = []

    def hang(request: BaseHTTPRequestHandler, name: str) -> bool:
        """The outcome comes, or else whoever shows the steps gives up first and closes the connection."""
        if name == "handle":
            Path(f"{guest.witness}.asked").touch()
            until(lambda: endpoint.of("web") or gave_up(request), "the outcome, while the handle hangs")
            arrived.append(bool(endpoint.of("web")))
        return False

    endpoint.spoil = hang
    script = "#!/bin/sh\nuntil [ -e $WITNESS.asked ]; do sleep 0.05; done\n"
    endpoint.serve(endpoint.script("web", script, options={"progress": handle(endpoint)}))

    assert 0 == guest.once().status

    until(lambda: arrived, "the handle to be asked")
    assert arrived[0]
    until(lambda: not guest.processes(), "the last event to be shown")


def gave_up(request: BaseHTTPRequestHandler) -> bool:
    return bool(select.select([request.connection], [], [], 0)[0])


@pytest.mark.parametrize("value", [7, ["a"], {"queue_id": "q"}, "progress"])
def test_a_handle_that_cannot_be_used_is_named_and_the_hook_runs(
    guest: Guest, endpoint: Endpoint, value: object
) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n", options={"progress": value}))

    done = guest.once()

    assert 0 == done.status
    [event] = done.events("progress not shown")
    assert "progress" in event["reason"]
    assert [] == shown(endpoint)


def test_without_a_handle_a_hook_is_told_of_no_file(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho ${heat_progress_path-none} >> $WITNESS\n"))

    guest.once()

    assert ["none"] == guest.seen()


def test_steps_are_followed_to_whom_a_runner_hands_its_deployment(guest: Guest, endpoint: Endpoint) -> None:
    """As with `runner = unit`: the first process ends at once, and the lock lives on in another."""
    deployment = json.dumps(endpoint.script("web", "", options={"progress": handle(endpoint)}))
    command = [sys.executable, "-c", HANDS_OVER, str(guest.root), deployment]

    subprocess.run(command, env=guest.environment(), check=True, timeout=LONGEST_S, stdin=subprocess.DEVNULL)

    until(lambda: shown(endpoint), "the beginning")
    time.sleep(1.5)  # longer than between two looks whether it has ended: nothing is to be seen meanwhile
    assert ["web: started"] == reasons(endpoint)
    Path(f"{guest.witness}.open").touch()
    until(lambda: len(shown(endpoint)) == 2, "both events")
    assert ["web: started", "web: ended with status 0"] == reasons(endpoint)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become somebody else")
def test_a_hook_of_another_user_may_speak_too(open_guest: Guest, endpoint: Endpoint) -> None:
    options = {"progress": handle(endpoint), "run_as": "nobody"}
    script = '#!/bin/sh -e\necho "as $USER" > "$heat_progress_path"\n'
    endpoint.serve(endpoint.script("web", script, options=options))

    assert 0 == open_guest.once().status

    until(lambda: "web: as nobody" in reasons(endpoint), "its words")
    until(lambda: not open_guest.processes(), "the last event to be shown")
