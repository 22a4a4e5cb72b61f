"""What an operator does by hand goes the ways that the agent goes itself."""

from pathlib import Path

import pytest

from tests.operator.conftest import Ask
from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.waiting import LONGEST_S, until

QUICK = {"polling_interval": "3600", "min_polling_interval": "3600"}
COUNTED = "#!/bin/sh\necho ran >> $WITNESS\n"
GATED = "#!/bin/sh\necho begin >> $WITNESS\nwhile [ ! -e $WITNESS.open ]; do sleep 0.05; done\necho end >> $WITNESS\n"


def test_a_rerun_is_begun_at_once_by_a_daemon_that_would_have_slept_an_hour(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    daemon = guest.start("run", **QUICK)
    until(lambda: guest.states() == {"id-web": "signalled"}, "the deployment to be done")

    said = ask("rerun", "web")

    assert f"web: its mark is removed; agent run (pid {daemon.pid}) was told to look" in said.stdout
    assert "Heat ignores the new outcome" in said.stdout
    until(lambda: guest.seen() == ["ran", "ran"], "the second run")
    until(lambda: len(endpoint.signals) == 2, "its signal")


def test_a_rerun_without_an_agent_waits_for_the_next_one(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    guest.once()

    said = ask("rerun", "web")
    again = ask("rerun", "web")
    guest.once()

    assert "the next agent run or agent --once will begin it" in said.stdout
    assert (64, True) == (again.status, "has not begun yet" in again.stderr)
    assert ["ran", "ran"] == guest.seen()


def test_what_runs_is_not_rerun(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", GATED))
    guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")

    said = ask("rerun", "web")

    assert 64 == said.status
    assert "'web' runs just now; cancel it first" in said.stderr
    assert (guest.deployed / "id-web.json").exists()


def test_what_has_left_the_metadata_is_not_rerun(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    guest.once()
    endpoint.serve(endpoint.script("other", COUNTED))
    guest.once()

    said = ask("rerun", "web")

    assert (64, True) == (said.status, "listed by no source any more" in said.stderr)
    assert (guest.deployed / "id-web.json").exists()


def test_cancelling_ends_the_whole_tree_and_is_signalled_as_failed(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    tree = "#!/bin/sh\nsetsid sleep 600 &\necho begin >> $WITNESS\nsleep 600\n"
    endpoint.serve(endpoint.script("web", tree))
    daemon = guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")

    said = ask("cancel", "web")

    assert "web: ended; an agent signals it as failed, interrupted" in said.stdout
    [sent] = until(lambda: endpoint.signals, "the outcome")
    assert ("FAILED", True) == (sent.judged, "interrupted" in sent.stderr)
    assert [daemon.pid] == until(lambda: len(alive := guest.processes()) == 1 and alive, "the tree to be gone")


def test_there_is_nothing_to_cancel_where_nothing_runs(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    guest.once()

    said = ask("cancel", "web")

    assert (64, True) == (said.status, "does not run; there is nothing to cancel" in said.stderr)


def test_no_stranger_is_signalled_for_a_pid_in_a_stale_lock(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    """The pid was written before a reboot, or by another container; the lock is held by somebody else."""
    endpoint.serve(endpoint.script("web", GATED))
    guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")
    stranger = guest.start("run", root=str(guest.root / "elsewhere"))
    lock = guest.state / "running/id-web.lock"
    until(lock.read_bytes, "the runner to note its pid")
    before = lock.read_text()
    lock.write_text(f'{{"pid": {stranger.pid}}}')

    said = ask("cancel", "web")

    lock.write_text(before)
    assert (74, True) == (said.status, "that process does not hold it" in said.stderr)
    assert stranger.poll() is None


def test_a_once_that_runs_is_not_disturbed_by_a_rerun(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", COUNTED), endpoint.script("slow", GATED))
    once = guest.start("--once")
    until(lambda: "begin" in guest.seen(), "the second hook to begin")

    said = ask("rerun", "web")

    assert "the next agent run or agent --once" in said.stdout
    assert once.poll() is None
    Path(f"{guest.witness}.open").touch()
    assert 0 == once.wait(LONGEST_S)


@pytest.mark.usefixtures("killed")
def test_the_kernel_alone_says_who_holds_a_lock(ask: Ask) -> None:
    """A runner that was killed leaves its pid in the lock; nothing is told to whoever has that number now."""
    said = ask("cancel", "web")

    assert (64, True) == (said.status, "does not run" in said.stderr)


def test_a_refused_outcome_is_signalled_by_hand_once_the_endpoint_takes_it(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    spoil, endpoint.spoil = endpoint.spoil, answering(404)
    guest.start("run", **QUICK)
    until(lambda: guest.states() == {"id-web": "refused"}, "the refusal")
    endpoint.spoil = spoil

    said = ask("signal", "web", "--yes")

    assert (0, True) == (said.status, said.stdout.endswith("taken\n")), said
    assert ({"id-web": "signalled"}, ["COMPLETE"]) == (guest.states(), [sent.judged for sent in endpoint.signals])
    assert (["ran"], []) == (guest.seen(), list((guest.state / "asked").iterdir()))


def test_an_outcome_of_ones_own_ends_a_deployment_that_never_began(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", COUNTED, group="exotic"))
    guest.start("run", hook_grace="600", **QUICK)
    until(lambda: guest.log().events("held"), "the deployment to be held")

    said = ask("signal", "web", "--status", "0", "--set", "address=10.0.0.1", "--reason", "by me", "--yes")

    assert (0, True) == (said.status, said.stdout.endswith("taken\n")), said
    [sent] = endpoint.signals
    assert ("COMPLETE", "10.0.0.1", "by me\n") == (sent.judged, sent.body["address"], sent.stderr)
    assert (guest.deployed / "id-web.json").exists(), "and its hook is never run"


def test_without_yes_nothing_is_told(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    guest.once(once_patience="0")
    before = len(endpoint.tries)

    said = ask("signal", "web", "--status", "0")

    assert (64, before) == (said.status, len(endpoint.tries))
    assert "this is final" in said.stderr
    assert not (guest.state / "asked").exists()


def test_a_deployment_that_has_left_is_never_signalled_by_hand(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    endpoint.spoil = answering(503)
    guest.once(once_patience="0")
    endpoint.serve(endpoint.script("new", COUNTED))
    guest.once(once_patience="0")

    said = ask("signal", "web", "--yes")

    assert (64, True) == (said.status, "which a signal would complete" in said.stderr)


def test_one_that_leaves_between_the_asking_and_the_look_is_not_signalled(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    spoil, endpoint.spoil = endpoint.spoil, answering(503)
    guest.once(once_patience="0")
    assert 0 == ask("signal", "web", "--yes").status
    endpoint.serve(endpoint.script("new", COUNTED))
    endpoint.spoil = spoil

    guest.once()

    assert ["new"] == [sent.name for sent in endpoint.signals]
    assert {"id-web": "superseded", "id-new": "signalled"} == guest.states()


def test_without_an_agent_the_next_one_signals(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", COUNTED))
    spoil, endpoint.spoil = endpoint.spoil, answering(404)
    guest.once()
    endpoint.spoil = spoil

    said = ask("signal", "web", "--yes")
    guest.once()

    assert "no agent runs: the next agent run or agent --once signals it" in said.stdout
    assert (1, {"id-web": "signalled"}) == (len(endpoint.signals), guest.states())


def test_asking_once_is_queued_once_also_over_a_crash(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    """The file of an asking that was taken already comes back: a crash before its removal."""
    endpoint.serve(endpoint.script("web", COUNTED))
    guest.once()
    ask("signal", "web", "--yes")
    asking = (guest.state / "asked/id-web.json").read_bytes()
    guest.once()
    assert 2 == len(endpoint.signals)

    (guest.state / "asked/id-web.json").write_bytes(asking)
    guest.once()

    assert 2 == len(endpoint.signals)
