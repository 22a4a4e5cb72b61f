"""The daemon as an operator meets it: stopped, restarted, told to reload, outlived by what it started."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from agent import state
from agent.daemon import run
from agent.engine import Engine
from agent.errors import Busy
from agent.settings import Given
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest, put
from tests.waiting import LONGEST_S, until

QUICK = {"min_polling_interval": "0.05", "polling_interval": "0.2"}
GATED = "#!/bin/sh\necho begin >> $WITNESS\nwhile [ ! -e $WITNESS.open ]; do sleep 0.05; done\necho end >> $WITNESS\n"


def open_gate(guest: Guest) -> None:
    (guest.root / "witness.open").touch()


def test_a_stopped_daemon_leaves_its_runner_and_the_next_one_sends_the_real_outcome(
    guest: Guest, endpoint: Endpoint
) -> None:
    endpoint.serve(endpoint.script("web", GATED))
    first = guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")

    first.send_signal(signal.SIGTERM)

    assert 0 == first.wait(LONGEST_S)
    assert 1 == len(guest.runners())

    guest.start("run", **QUICK)
    until(lambda: guest.log().events("runner taken over"), "the second daemon to take over")
    open_gate(guest)

    [sent] = until(lambda: endpoint.signals, "the outcome")
    assert ("COMPLETE", ["begin", "end"]) == (sent.judged, guest.seen())
    until(lambda: guest.states() == {"id-web": "signalled"}, "the journal to say so")


def test_a_runner_that_ends_while_no_daemon_lives_is_not_called_interrupted(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", GATED))
    first = guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")
    first.kill()
    first.wait(LONGEST_S)
    open_gate(guest)
    until(lambda: not guest.runners(), "the runner to end")

    again = guest.once()

    assert (0, ["COMPLETE"]) == (again.status, [sent.judged for sent in endpoint.signals])


def test_sighup_reads_the_settings_again_and_polls_at_once(guest: Guest, endpoint: Endpoint) -> None:
    settings = guest.root / "etc/os-deploy-agent/agent.conf"
    put(settings, "[DEFAULT]\npolling_interval = 3600\nmin_polling_interval = 3600\n")
    daemon = guest.start("run")
    until(lambda: endpoint.polls == 1, "the first poll")

    put(settings, "[DEFAULT]\npolling_interval = 0.1\nmin_polling_interval = 0.1\n")
    daemon.send_signal(signal.SIGHUP)

    until(lambda: endpoint.polls > 4, "the new, shorter interval")


def test_sighup_with_faulty_settings_keeps_the_good_ones(guest: Guest, endpoint: Endpoint) -> None:
    settings = guest.root / "etc/os-deploy-agent/agent.conf"
    put(settings, "[DEFAULT]\npolling_interval = 0.1\nmin_polling_interval = 0.1\n")
    daemon = guest.start("run")
    until(lambda: endpoint.polls, "the first poll")

    put(settings, "[DEFAULT]\npolling_interval = soon\n")
    daemon.send_signal(signal.SIGHUP)

    [event] = until(lambda: guest.log().events("settings not taken over"), "the complaint")
    assert "agent.conf" in event["reason"]
    assert "'soon'" in event["reason"]
    before = endpoint.polls
    until(lambda: endpoint.polls > before + 2, "polling to go on")


def test_polls_grow_rare_while_nothing_changes_and_frequent_after_a_change(root: Path, endpoint: Endpoint) -> None:
    endpoint.serve()
    pauses: list[float] = []

    def jitter(_low: float, high: float) -> float:
        pauses.append(high)
        if len(pauses) == 5:
            endpoint.serve(note="something changed")
        if len(pauses) == 8:
            os.kill(os.getpid(), signal.SIGTERM)
        return 0.0

    bounds = {"min_polling_interval": "1", "polling_interval": "4"}
    flags = {"collectors": "request", "request.metadata_url": endpoint.metadata_url, **bounds}
    run(Engine(Given(root, flags), can_hold=True), jitter=jitter)

    splay, *between_polls = pauses
    assert (0, [1, 2, 4, 4, 1, 2, 4]) == (splay, between_polls)


def test_an_id_that_leaves_the_document_cancels_its_hook_and_nothing_is_sent(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("old", GATED))
    guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")

    endpoint.serve(endpoint.script("new", "#!/bin/sh\necho new >> $WITNESS\n"))

    settled = {"id-new": "signalled", "id-old": "superseded"}
    until(lambda: guest.states() == settled, "the new deployment to be signalled, the old one to be superseded")
    assert (["begin", "new"], []) == (guest.seen(), endpoint.of("old"))
    assert 1 == len(guest.processes())


def test_a_source_that_goes_down_cancels_nothing(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", GATED))
    guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")

    endpoint.metadata_status = 503
    polls = endpoint.polls
    until(lambda: endpoint.polls > polls + 3, "three vain polls")
    open_gate(guest)

    [sent] = until(lambda: endpoint.signals, "the outcome")
    assert ("COMPLETE", ["begin", "end"]) == (sent.judged, guest.seen())


def test_two_deployments_run_at_a_time_when_two_may(guest: Guest, endpoint: Endpoint) -> None:
    """The first waits for the second: one at a time would never end."""
    waiting = "#!/bin/sh\nwhile [ ! -e $WITNESS.open ]; do sleep 0.05; done\necho first >> $WITNESS\n"
    opening = "#!/bin/sh\ntouch $WITNESS.open\necho second >> $WITNESS\n"
    endpoint.serve(endpoint.script("first", waiting), endpoint.script("second", opening))

    ended = guest.once(max_parallel="2", hook_timeout="600")

    assert 0 == ended.status
    assert {"first": "COMPLETE", "second": "COMPLETE"} == {sent.name: sent.judged for sent in endpoint.signals}


def test_one_at_a_time_keeps_the_order_of_the_document(guest: Guest, endpoint: Endpoint) -> None:
    names = ["third", "first", "second"]
    endpoint.serve(*(endpoint.script(name, f"#!/bin/sh\necho {name} >> $WITNESS\n") for name in names))

    assert 0 == guest.once().status
    assert names == guest.seen()


def test_a_second_agent_on_the_same_root_is_told_who_holds_the_lock(guest: Guest, endpoint: Endpoint) -> None:
    daemon = guest.start("run", **QUICK)
    until(lambda: endpoint.polls, "the daemon to poll")

    try:
        state.lock(guest.state / "lock", "the test", wait_s=0.2).release()
        said = "nothing"
    except Busy as exc:
        said = str(exc)
        status = exc.exit_status

    assert f"agent run (pid {daemon.pid}) holds it" in said
    assert 75 == status


def test_a_waiting_agent_goes_on_when_the_lock_is_free(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho ran >> $WITNESS\n"))
    held = state.lock(guest.state / "lock", "the test")
    waiting = guest.start("--once")
    time.sleep(0.5)  # it waits: nothing to be seen but that it does nothing
    assert (None, 0) == (waiting.poll(), endpoint.polls)

    held.release()

    assert 0 == waiting.wait(LONGEST_S)
    assert ["ran"] == guest.seen()


def test_the_metadata_itself_can_move_the_source(guest: Guest, endpoint: Endpoint) -> None:
    """What os-collect-config did for a re-exec."""
    local = guest.root / "var/lib/os-collect-config/local-data"
    local.mkdir(parents=True, mode=0o755)
    overlay = {"os-collect-config": {"request": {"metadata_url": endpoint.metadata_url}}}
    (local / "local.json").write_text(json.dumps(overlay))
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho ran >> $WITNESS\n"))
    guest.start("run", collectors="local,request", request_metadata_url="", **QUICK)

    until(lambda: endpoint.signals, "the outcome")

    assert ["ran"] == guest.seen()


@pytest.mark.parametrize(
    "broken", ['{"os-collect-config": {"request": {"metadata_url": ["a", {}]}, "zaqar": 7}', "not json", ""]
)
def test_settings_in_the_metadata_survive_a_restart_and_what_breaks_them(
    guest: Guest, endpoint: Endpoint, broken: str
) -> None:
    local = guest.root / "var/lib/os-collect-config/local-data/local.json"
    local.parent.mkdir(parents=True, mode=0o755)
    section = {"request": {"metadata_url": endpoint.metadata_url}, "cfn": None, "zaqar": {"queue_id": None}}
    local.write_text(json.dumps({"os-collect-config": section}))
    endpoint.serve()
    assert 0 == guest.once(collectors="local,request", request_metadata_url="").status
    local.write_text(broken)
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho ran >> $WITNESS\n"))

    ended = guest.once(collectors="local,request", request_metadata_url="")

    assert (2, ["ran"]) == (ended.status, guest.seen())
    assert ["local"] == [event["source"] for event in ended.events("source unavailable")]


def test_the_first_poll_waits_for_a_random_part_of_the_splay(root: Path, endpoint: Endpoint) -> None:
    drawn: list[tuple[float, float]] = []

    def jitter(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    def stop() -> None:
        until(lambda: endpoint.polls, "the first poll")
        os.kill(os.getpid(), signal.SIGTERM)

    flags = {"collectors": "request", "request.metadata_url": endpoint.metadata_url, "splay": "600"}
    stopper = threading.Thread(target=stop)
    stopper.start()
    status = run(Engine(Given(root, flags), can_hold=True), jitter=jitter)
    stopper.join()

    assert (0, (0.0, 600.0)) == (status, drawn[0])


def test_polling_stops_for_good_once_everything_succeeded_and_sighup_wakes_it(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho done >> $WITNESS\n"))
    daemon = guest.start("run", poll_until_success="true", **QUICK)
    until(lambda: guest.log().events("all deployments succeeded, polling stops"), "the daemon to go to sleep")
    polls = endpoint.polls
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho done >> $WITNESS\n"), endpoint.script("more", "#!/bin/sh\n"))
    time.sleep(0.6)  # three of the longest pauses

    assert polls == endpoint.polls

    daemon.send_signal(signal.SIGHUP)

    until(lambda: len(endpoint.signals) == 2, "the second deployment after the wake-up")
    daemon.send_signal(signal.SIGTERM)
    assert 0 == daemon.wait(LONGEST_S)
