"""The private memory of the daemon, after a deployment and a few polls over HTTP with nothing new."""

from __future__ import annotations

from benchmarks import cost, metadata
from benchmarks.ours import Ours
from benchmarks.peers import Theirs
from benchmarks.scratch import Bench, Side
from benchmarks.table import Row

INTERVAL_S = 0.3
POLLS = 5
TARGET_MIB = 24


def measure(bench: Bench) -> list[Row]:
    we, they = _private_mib(bench, Ours), _private_mib(bench, Theirs)
    return [Row("idle daemon, private memory", f"{we:.1f} MiB", f"{they:.1f} MiB", they / we, f"{TARGET_MIB} MiB")]


def _private_mib(bench: Bench, side: Side) -> float:
    bench.endpoint.serve(metadata.document(1, bench.endpoint.url))
    polls, signals = bench.endpoint.counts()
    process = cost.start(bench.side(side).daemon(INTERVAL_S, INTERVAL_S))
    try:
        cost.until(lambda: bench.endpoint.counts()[1] > signals, "no signal came")
        polls = bench.endpoint.counts()[0]
        cost.until(lambda: bench.endpoint.counts()[0] >= polls + POLLS, "it does not poll")
        return cost.memory(process.pid, ("Private_Clean", "Private_Dirty")) / cost.MIB
    finally:
        cost.stop(process)
