"""kill -9 of the agent, of a runner, and of both, before every call that an arrow of the cycle goes through.

The points are not picked: one undisturbed run records every system call of the agent and its runners (see
shim/sitecustomize.py), and each of them becomes a crash of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint, listening
from tests.process.guest import Ended, Guest, kill
from tests.process.points import NAMES, Point, serve, thinned
from tests.waiting import until

pytestmark = pytest.mark.slow

AT_MOST = 50  # points of one mode: half a minute on two busy cores


def crash(point: Point, victims: str, scratch: Path) -> list[str]:
    """Kill `victims` at `point`, start again, and tell what was lost, repeated or left over."""
    root = scratch / "root"
    root.mkdir(parents=True)
    with listening() as endpoint:
        guest = Guest(root, endpoint)
        serve(endpoint)
        spoiled = guest.shim(scratch / "record", SHIM_KILL=str(point), SHIM_VICTIMS=victims)
        try:
            guest.once(environment=spoiled)
            until(lambda: not guest.runners(), "a runner that outlived its agent")
            again = guest.once()
            return list(faults(guest, again, (scratch / "record.killed").exists(), victims))
        except AssertionError as exc:
            return [str(exc)]
        finally:
            guest.end()


def faults(guest: Guest, again: Ended, killed: bool, victims: str) -> Iterator[str]:
    """The promises, each looked at from outside."""
    for name in NAMES:
        yield from deployment_faults(guest, name, victims)
    if not killed:
        yield "the point was never reached"
    if again.status not in (0, 1):
        yield f"the next start ended with {again.status}: {again.stderr}"
    if guest.states() != {f"id-{name}": "signalled" for name in NAMES}:
        yield f"the journal says {guest.states()}"
    if left := guest.rubble():
        yield f"left on disk: {left}"
    if guest.processes():
        yield "a process was left"


def deployment_faults(guest: Guest, name: str, victims: str) -> Iterator[str]:
    lines, signals = guest.seen(), guest.endpoint.of(name)
    began, ended = lines.count(f"begin-{name}"), lines.count(f"end-{name}")
    if began > 1:
        yield f"{name}: its hook ran {began} times"
    if not signals:
        yield f"{name}: its outcome never reached the endpoint"
        return
    if any(signal.body != signals[0].body for signal in signals):
        yield f"{name}: two different outcomes were sent"
    first = signals[0]
    if first.judged == "COMPLETE":
        if not (began == ended == 1):
            yield f"{name}: COMPLETE though its hook began {began} and ended {ended} times"
        if first.body["deploy_stdout"] != f"printed by {name}\n":
            yield f"{name}: its output is not in the signal"
        return
    if "interrupted" not in first.stderr:
        yield f"{name}: failed without the word interrupted: {first.stderr!r}"
    if victims == "agent" and began:
        yield f"{name}: its runner outlived the agent, its outcome is lost all the same"


def crash_at_each(points: list[Point], victims: str, scratch: Path) -> dict[str, list[str]]:
    """What went wrong at which point. Three at a time: a crash mostly waits."""
    with ThreadPoolExecutor(3) as pool:
        places = [scratch / str(number) for number in range(len(points))]
        found = pool.map(lambda pair: crash(pair[0], victims, pair[1]), zip(points, places, strict=True))
        return {str(point): wrong for point, wrong in zip(points, found, strict=True) if wrong}


def test_a_killed_agent_loses_nothing_and_its_runner_finishes(recorded: list[Point], tmp_path: Path) -> None:
    points = thinned([point for point in recorded if point.role == "agent"], AT_MOST)

    assert len(points) >= 40
    assert {} == crash_at_each(points, "agent", tmp_path)


def test_a_killed_runner_is_signalled_as_interrupted(recorded: list[Point], tmp_path: Path) -> None:
    points = thinned([point for point in recorded if point.role != "agent"], AT_MOST)

    assert len(points) >= 20
    assert {} == crash_at_each(points, "runner", tmp_path)


def test_agent_and_runner_killed_together_lose_nothing(recorded: list[Point], tmp_path: Path) -> None:
    points = thinned(recorded, AT_MOST)

    assert len(points) >= 40
    assert {} == crash_at_each(points, "agent,runner", tmp_path)


def test_no_arrow_is_passed_before_the_one_behind_it_is_on_disk(recorded: list[Point]) -> None:
    """What no kill can show, because the kernel keeps what a killed process wrote; only a power cut takes it."""
    unpromised = ("heat-config-script", "bulletin")  # the hook's own files, and what nothing depends on
    for role in ("agent", "runner1", "runner2"):
        calls = [p for p in recorded if p.role == role and not any(name in p.subject for name in unpromised)]
        replaced = [at for at, point in enumerate(calls) if point.call == "rename"]
        assert len(replaced) >= (7 if role == "agent" else 1)
        for at in replaced:
            directory, _, name = calls[at].subject.rpartition("/")
            temporary = f"{directory}/.{name}.PID.tmp"
            before = [(point.call, point.subject) for point in calls[at - 3 : at]]
            assert [("open", temporary), ("write", temporary), ("fsync", temporary)] == before
            assert ("fsync", directory) == (calls[at + 1].call, calls[at + 1].subject)


def test_the_arrows_come_in_their_order(recorded: list[Point]) -> None:
    arrows = {
        "rename var/lib/os-deploy-agent/documents/request.json": "keep the document",
        "rename var/lib/os-deploy-agent/journal/id-first.json": "record",
        "rename var/lib/heat-config/deployed/id-first.json": "mark",
        "fork -": "begin",
        "_execute_child -": "run",
        "rename var/lib/heat-config/deployed/id-first.notify.json": "keep the outcome",
        "sendall -": "ask or send",
    }
    passed = [arrows.get(f"{point.call} {point.subject}") for point in recorded if point.role != "runner2"]
    order = [arrow for arrow in passed if arrow]

    first = ["ask or send", "keep the document", "record", "mark", "begin", "run", "keep the outcome"]
    assert first == order[: len(first)]
    assert "ask or send" == order[len(first)]
    # the second hook may have begun by then: the record that the signal was taken is written while it runs
    assert "record" == next(arrow for arrow in order[len(first) :] if arrow not in ("ask or send", "begin"))


def test_waiting_for_a_runner_costs_no_more_than_its_events(calls: list[Point]) -> None:
    waits = [point for point in calls if (point.role, point.call) == ("agent", "wait")]

    assert len(waits) <= 4 * len(NAMES)


def test_an_interrupted_hook_is_ended_and_its_namesake_of_another_agent_is_not(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.serve(endpoint.script("same", "#!/bin/sh\necho begin >> $WITNESS\nexec sleep 600\n"))
    guests = [Guest(tmp_path / name, endpoint) for name in ("one", "other")]
    try:
        for guest in guests:
            guest.root.mkdir()
            guest.start("--once")
            until(guest.seen, "the hook to begin")
        until(lambda: len(guests[1].processes()) == 3, "the other's agent, runner and hook")
        kill(guests[0].runners())
        again = guests[0].once()

        assert (1, ["interrupted"]) == (again.status, [sent.stderr.split(":")[0] for sent in endpoint.signals])
        assert ([], 3) == (guests[0].processes(), len(guests[1].processes()))
    finally:
        for guest in guests:
            guest.end()
