"""What one more trivial script deployment costs, from metadata to signal, beside the floor."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks import cost, floor, metadata
from benchmarks.floor import Floor
from benchmarks.ours import Ours
from benchmarks.peers import Theirs
from benchmarks.scratch import Bench, Side
from benchmarks.table import Row

TARGET = 1.5
SLOWEST_S = 900.0  # a thousand deployments on a machine that others use


@dataclass(frozen=True)
class Line:
    """Wall time as a line over the number of deployments, from the best run of each number."""

    marginal_s: float
    start_s: float


@dataclass(frozen=True)
class Run:
    """One run over some deployments: its wall time, and the time from each signal to the next."""

    wall_s: float
    laps_s: tuple[float, ...]


def measure(bench: Bench) -> list[Row]:
    counts = (1, 10, 100) if bench.quick else (1, 10, 100, 1000)
    sizes = _sizes(bench)
    floors = [_floor(bench, sizes)]
    runs: dict[int, list[Run]] = {count: [] for count in counts}
    for repeat in range(3):
        for count in counts:
            if not repeat or count < 1000:
                runs[count].append(_run(bench, Ours, count))
                floors.append(_floor(bench, sizes))
    ours = {count: min(run.wall_s for run in runs[count]) for count in counts}
    theirs = {count: _run(bench, Theirs, count).wall_s for count in ((1, 6) if bench.quick else (1, 10, 20))}
    quiet_s = floor.quiet([lap for count in counts for run in runs[count] for lap in run.laps_s])
    least, we, they = floor.best(floors), _line(ours), _line(theirs)
    quiet_floor_s = min(one.quiet_s for one in floors)
    return [
        *(_row(count, ours[count], theirs.get(count)) for count in ours),
        Row(
            "start-up of a run with deployments",
            _ms(we.start_s),
            _ms(they.start_s),
            they.start_s / we.start_s,
        ),
        Row("one more deployment", _ms(we.marginal_s), _ms(they.marginal_s), they.marginal_s / we.marginal_s),
        Row("one more deployment, undisturbed", _ms(quiet_s)),
        Row("floor: fork and exec of the script", _ms(least.process_s)),
        Row(f"floor: {len(sizes)} durable writes of {', '.join(map(str, sizes))} bytes", _ms(least.writes_s)),
        Row("floor: a POST on a kept connection", _ms(least.signal_s)),
        Row("floor in all", _ms(least.total_s)),
        Row("floor in all, undisturbed", _ms(quiet_floor_s)),
        Row(
            "one more deployment / floor",
            f"{we.marginal_s / least.total_s:.2f}",
            f"{they.marginal_s / least.total_s:.0f}",
            target=f"ours {TARGET}",
        ),
        Row("the same, undisturbed", f"{quiet_s / quiet_floor_s:.2f}", target=f"ours {TARGET}"),
    ]


def _run(bench: Bench, side: Side, count: int) -> Run:
    document = metadata.document(count, bench.endpoint.url)
    bench.endpoint.serve(document)
    program = bench.side(side).once()
    before = len(bench.endpoint.arrivals())
    spent = cost.run(program, timeout_s=SLOWEST_S)
    arrivals = bench.endpoint.arrivals()[before:]
    if len(arrivals) != count:
        told = f"{len(arrivals)} of {count} deployments were signalled"
        raise RuntimeError(f"{side.__name__}: {told}: {program.last_words()}")
    return Run(spent.wall_s, tuple(after - before for before, after in itertools.pairwise(arrivals)))


def _sizes(bench: Bench) -> list[int]:
    """The bytes of each durable write, from the files that one real deployment leaves."""
    document = metadata.document(1, bench.endpoint.url)
    bench.endpoint.serve(document)
    side = Ours(bench.place(), f"{bench.endpoint.url}/metadata")
    program = side.once()
    if cost.run(program, timeout_s=SLOWEST_S).status != 0:
        raise RuntimeError(f"the agent does not run one deployment: {program.last_words()}")
    return [path.stat().st_size for path in side.state_files(metadata.ids(document)[0])]


def _floor(bench: Bench, sizes: list[int]) -> Floor:
    return floor.measure(bench.place(), bench.endpoint, sizes, loops=100)


def _line(seconds: Mapping[int, float]) -> Line:
    """From the second smallest number to the largest: the first deployment pays for what is set up once."""
    numbers = sorted(seconds)
    near, far = numbers[-1] // 10 if numbers[-1] // 10 in seconds else numbers[0], numbers[-1]
    marginal = (seconds[far] - seconds[near]) / (far - near)
    return Line(marginal, max(seconds[numbers[0]] - marginal, 0.0))


def _row(count: int, ours: float, theirs: float | None) -> Row:
    name = f"{count} deployment{'s' * (count > 1)}"
    if theirs is None:
        return Row(name, _ms(ours))
    return Row(name, _ms(ours), _ms(theirs), theirs / ours)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"
