"""An idle poll of a daemon over HTTP: requests, connections, bytes and CPU."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import cost, metadata
from benchmarks.ours import Ours
from benchmarks.peers import Theirs
from benchmarks.scratch import Bench, Side
from benchmarks.table import Row

INTERVAL_S = 0.02
SETTLED = 20  # polls before the measurement: the first ones load what the later ones use


@dataclass(frozen=True)
class Poll:
    """What one idle poll takes, on average."""

    requests: float
    connections: float
    bytes: float
    cpu_s: float


def measure(bench: Bench) -> list[Row]:
    polls = 100 if bench.quick else 500
    we, they = _poll(bench, Ours, polls), _poll(bench, Theirs, polls)
    return [
        _row("requests", f"{we.requests:.2f}", f"{they.requests:.2f}", they.requests / we.requests, "1"),
        _row("new connections", f"{we.connections:.2f}", f"{they.connections:.2f}", None, "0"),
        _row("bytes", f"{we.bytes:.0f}", f"{they.bytes:.0f}", they.bytes / we.bytes),
        _row("CPU", _ms(we.cpu_s), _ms(they.cpu_s), they.cpu_s / we.cpu_s, "1 ms"),
    ]


def _row(what: str, ours: str, theirs: str, better: float | None, target: str = "") -> Row:
    return Row(f"an idle poll over HTTP, {what}", ours, theirs, better, target)


def _poll(bench: Bench, side: Side, number: int) -> Poll:
    """The peers ask twice for each poll, once without wanting the answer: only what they fetch counts as a poll."""
    bench.endpoint.serve(metadata.document(1, bench.endpoint.url))
    signals = bench.endpoint.counts()[1]
    process = cost.start(bench.side(side).daemon(INTERVAL_S, INTERVAL_S))
    try:
        cost.until(lambda: bench.endpoint.counts()[1] > signals, "no signal came")
        settled = bench.endpoint.counts()[0] + SETTLED
        cost.until(lambda: bench.endpoint.counts()[0] >= settled, "it does not poll")
        before, cpu_s, polls = bench.endpoint.traffic(), cost.spent_s(process.pid), bench.endpoint.counts()[0]
        cost.until(lambda: bench.endpoint.counts()[0] >= polls + number, "it does not poll")
        after, cpu_s, polls = (
            bench.endpoint.traffic(),
            cost.spent_s(process.pid) - cpu_s,
            bench.endpoint.counts()[0] - polls,
        )
    finally:
        cost.stop(process)
    return Poll(
        (after.requests - before.requests) / polls,
        (after.connections - before.connections) / polls,
        (after.bytes - before.bytes) / polls,
        cpu_s / polls,
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
