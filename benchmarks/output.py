"""A script that prints 20 MiB: how long until the outcome is told, and how large the tree gets meanwhile."""

from __future__ import annotations

from benchmarks import cost, metadata
from benchmarks.ours import Ours
from benchmarks.peers import Theirs
from benchmarks.scratch import Bench, Side
from benchmarks.table import Row

LOOK_S = 0.005
TARGET_S = 0.3
SCRIPT = "#!/bin/sh\nyes 'a line of some sixty characters, as installers like to print' | head -c {size}\n"


def measure(bench: Bench) -> list[Row]:
    repeats = 3 if bench.quick else 5
    little = _best(bench, Ours, 0, repeats)
    ours = _best(bench, Ours, 20 * cost.MIB, repeats)
    much = _best(bench, Ours, 200 * cost.MIB, 1 if bench.quick else 3)
    theirs = _best(bench, Theirs, 20 * cost.MIB, 1)
    they_little = _best(bench, Theirs, 0, 1)
    return [
        Row(
            "a script printing nothing, wall time",
            _s(little),
            _s(they_little),
            they_little.wall_s / little.wall_s,
        ),
        Row(
            "a script printing 20 MiB, wall time",
            _s(ours),
            _s(theirs),
            theirs.wall_s / ours.wall_s,
            f"{TARGET_S} s",
        ),
        Row("a script printing 200 MiB, wall time", _s(much)),
        Row("peak memory printing nothing", _mib(little), _mib(they_little), they_little.peak / little.peak),
        Row("peak memory printing 20 MiB", _mib(ours), _mib(theirs), theirs.peak / ours.peak, "flat"),
        Row("peak memory printing 200 MiB", _mib(much), target="flat"),
    ]


def _best(bench: Bench, side: Side, size: int, repeats: int) -> cost.Cost:
    """The smallest wall time, and the largest memory: looking now and then can only miss."""
    costs = []
    for _ in range(repeats):
        bench.endpoint.serve(metadata.document(1, bench.endpoint.url, SCRIPT.format(size=size)))
        program = bench.side(side).once()
        looked = cost.run(program, timeout_s=120, look_s=LOOK_S)
        costs.append(looked)
    fastest = min(costs, key=lambda one: one.wall_s)
    return cost.Cost(fastest.status, fastest.wall_s, fastest.cpu_s, max(one.peak for one in costs))


def _s(spent: cost.Cost) -> str:
    return f"{spent.wall_s:.2f} s"


def _mib(spent: cost.Cost) -> str:
    return f"{spent.peak / cost.MIB:.0f} MiB"
