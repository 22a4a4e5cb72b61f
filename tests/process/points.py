"""The calls through which every arrow of a cycle passes, recorded from an undisturbed run of two deployments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.process.endpoint import Endpoint, listening
from tests.process.guest import Guest
from tests.waiting import until

NAMES = ("first", "second")
HOOK = """#!/bin/sh
echo begin-$NAME >> $WITNESS
echo printed by $NAME
sleep 0.05
echo end-$NAME >> $WITNESS
"""


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


def record(scratch: Path) -> list[Point]:
    """Every call of an undisturbed run, in order."""
    root = scratch / "root"
    root.mkdir()
    with listening() as endpoint:
        guest = Guest(root, endpoint)
        serve(endpoint)
        ended = guest.once(environment=guest.shim(scratch / "record"))
        assert (0, list(NAMES)) == (ended.status, [signal.name for signal in endpoint.signals]), ended.stderr
    words = [line.split() for line in (scratch / "record").read_text().splitlines()]
    return [Point(role, call, subject, int(number)) for role, call, subject, number in words]


def certain(calls: list[Point]) -> list[Point]:
    """Those of `calls` that every run makes.

    How often a selector or a socket wakes up is chance; that it is waited on is not.
    """
    return [point for point in calls if point.call not in ("wait", "recv_into") or point.number == 1]


def thinned(points: list[Point], at_most: int) -> list[Point]:
    """Evenly fewer, but never without one of each kind of call in each role."""
    step = max(len(points) / at_most, 1.0)
    even = {points[int(position * step)] for position in range(min(len(points), at_most))}
    kinds = {(point.role, point.call): point for point in reversed(points)}
    return [point for point in points if point in even or point in kinds.values()]


def killed_at_the_start(make: Callable[[Path], Guest], scratch: Path) -> Iterator[tuple[str, Guest]]:
    """A guest for each change that the agent makes of `web` up to its runner: killed just there, then run once more."""
    guest, record = make(scratch / "recorded"), scratch / "record"
    guest.once(environment=guest.shim(record))
    guest.end()
    points = _start(record)
    assert len(points) >= 6
    for number, point in enumerate(points):
        guest = make(scratch / str(number))
        guest.once(environment=guest.shim(scratch / f"record-{number}", SHIM_KILL=point, SHIM_VICTIMS="agent"))
        until(lambda guest=guest: not guest.runners(), "the runner to end")  # type: ignore[misc]
        guest.once()
        guest.end()
        yield point, guest


def _start(record: Path) -> list[str]:
    """What the agent changes of the deployment, up to the start of its runner."""
    points = [point for point in record.read_text().splitlines() if point.startswith("agent ")]
    [began] = [at for at, point in enumerate(points) if point.split()[1] == "fork"]
    return [point for point in points[:began] if "id-web" in point] + [points[began]]
