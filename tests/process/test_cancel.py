"""A hook whose deployment left the metadata, over the death of the agent that cancelled it, and when it comes back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint
from tests.process.guest import Guest
from tests.waiting import until

STUBBORN = """#!/bin/sh
trap : TERM
echo began >> $WITNESS
while [ ! -e $WITNESS.go ]; do sleep 0.05; done
"""


@pytest.fixture
def cancelled(guest: Guest, endpoint: Endpoint) -> Guest:
    """A guest whose agent has cancelled a hook, which takes its time to end."""
    guest.flags |= {"kill_grace": "200", "min_polling_interval": "0.1", "polling_interval": "0.2"}
    endpoint.serve(endpoint.script("web", STUBBORN))
    guest.start("run")
    until(guest.seen, "the hook to begin")
    endpoint.serve()
    until(lambda: guest.log().events("no longer wanted, hook cancelled"), "the hook to be cancelled")
    return guest


def let_end(guest: Guest) -> None:
    Path(f"{guest.witness}.go").touch()


def restart(guest: Guest) -> None:
    [agent] = guest.started
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait(60)
    guest.start("run")
    until(lambda: guest.log().events("runner taken over"), "the next agent to take over")


def look_again(endpoint: Endpoint) -> None:
    """Wait for an agent to have taken in what is served by now."""
    seen = endpoint.polls
    until(lambda: endpoint.polls > seen + 2, "two more polls")


@pytest.mark.parametrize("again", [False, True], ids=["same-agent", "next-agent"])
def test_its_outcome_is_told_to_nobody(cancelled: Guest, endpoint: Endpoint, again: bool) -> None:
    if again:
        restart(cancelled)

    let_end(cancelled)

    until(lambda: cancelled.states() == {"id-web": "superseded"}, "the outcome to be put away")
    look_again(endpoint)
    assert (["began"], []) == (cancelled.seen(), endpoint.tries)


@pytest.mark.parametrize("again", [False, True], ids=["same-agent", "next-agent"])
def test_one_that_came_back_is_told_of_and_not_begun_anew(cancelled: Guest, endpoint: Endpoint, again: bool) -> None:
    endpoint.serve(endpoint.script("web", STUBBORN))
    if again:
        restart(cancelled)
    look_again(endpoint)

    let_end(cancelled)

    until(lambda: cancelled.states() == {"id-web": "signalled"}, "the outcome to be taken")
    [told] = endpoint.signals
    assert ("FAILED", ["began"]) == (told.judged, cancelled.seen())
    assert "its runner was told to end" in told.stderr
