"""kill -9 of the agent, of a runner, and of both, before every call that an arrow of the cycle goes through.

The points are not picked: one undisturbed run records every system call of the agent and its runners (see
shim/sitecustomize.py), and each of them becomes a crash of its own.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint, listening
from tests.process.guest import Guest, until

pytestmark = pytest.mark.slow

AT_MOST = 90  # points of one mode: about a minute on two cores
HOOK = """#!/bin/sh
echo begin-$NAME >> $WITNESS
echo printed by $NAME
sleep 0.05
echo end-$NAME >> $WITNESS
"""
NAMES = ("first", "second")


@dataclass(frozen=True)
class Point:
    """Just before the n-th `call` on `subject` in `role`."""

    role: str
    call: str
    subject: str
    number: int

    def __str__(self) -> str:
        return f"{self.role} {self.call} {self.subject} {self.number}"


def serve(endpoint: Endpoint) -> None:
    endpoint.serve(*(endpoint.script(name, HOOK.replace("$NAME", name)) for name in NAMES))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> list[Point]:
    """Every point of an undisturbed run."""
    record = tmp_path_factory.mktemp("recorded") / "record"
    with listening() as endpoint:
        guest = Guest(tmp_path_factory.mktemp("root"), endpoint)
        serve(endpoint)
        ended = guest.once(environment=guest.shim(record))
        assert (0, list(NAMES)) == (ended.status, [signal.name for signal in endpoint.signals]), ended.stderr
    words = [line.split() for line in record.read_text().splitlines()]
    # How often a selector or a socket wakes up is chance; that it is waited on is not.
    return [
        Point(role, call, subject, int(number))
        for role, call, subject, number in words
        if call not in ("wait", "recv_into") or number == "1"
    ]


def thinned(points: list[Point], at_most: int) -> list[Point]:
    """Evenly fewer, but never without one of each kind of call in each role."""
    step = max(len(points) / at_most, 1.0)
    even = {points[int(position * step)] for position in range(min(len(points), at_most))}
    kinds = {(point.role, point.call): point for point in reversed(points)}
    return [point for point in points if point in even or point in kinds.values()]


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
            return list(faults(guest, again.status, (scratch / "record.killed").exists(), victims))
        except AssertionError as exc:
            return [str(exc)]
        finally:
            guest.end()


def faults(guest: Guest, status: int, killed: bool, victims: str) -> Iterator[str]:
    """The promises, each looked at from outside."""
    for name in NAMES:
        yield from deployment_faults(guest, name, victims)
    if not killed:
        yield "the point was never reached"
    if status not in (0, 1):
        yield f"the next start ended with {status}"
    if guest.states() != {f"id-{name}": "signalled" for name in NAMES}:
        yield f"the journal says {guest.states()}"
    if left := guest.temporary_files():
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


def test_an_interrupted_hook_is_ended_and_its_namesake_of_another_agent_is_not(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    endpoint.serve(endpoint.script("same", "#!/bin/sh\necho begin >> $WITNESS\nexec sleep 60\n"))
    guests = [Guest(tmp_path / name, endpoint) for name in ("one", "other")]
    try:
        for guest in guests:
            guest.root.mkdir()
            guest.start("--once")
            until(guest.seen, "the hook to begin")
        for pid in guests[0].runners():
            os.kill(pid, signal.SIGKILL)
        again = guests[0].once()

        assert (1, ["interrupted"]) == (again.status, [sent.stderr.split(":")[0] for sent in endpoint.signals])
        assert ([], 3) == (guests[0].processes(), len(guests[1].processes()))
    finally:
        for guest in guests:
            guest.end()
