"""How long after a change on the server its hook begins: over HTTP on both sides, and by websocket on ours."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import time
from contextlib import closing
from pathlib import Path

from benchmarks import cost, metadata
from benchmarks.ours import Ours
from benchmarks.peers import Theirs
from benchmarks.scratch import Bench, Side
from benchmarks.table import Row
from tests.collect.push import Push
from tests.collect.queue import Queue

SHORTEST_S, LONGEST_S = 0.1, 3.0
"""A tenth of the defaults of both, so that a run takes minutes and not hours."""
GROWN_S = 7.0  # by then the pauses of either have reached LONGEST_S
LOOK_S = 0.002


def measure(bench: Bench) -> list[Row]:
    repeats = 2 if bench.quick else 6
    we, they = _changes(bench, Ours, repeats), _changes(bench, Theirs, repeats)
    every_second = [_every_second(bench, side, 3 * repeats) for side in (Ours, Theirs)]
    pushed_s = _pushed(bench, 3 * repeats)
    scale = f"pauses {SHORTEST_S:g} to {LONGEST_S:g} s"
    return [
        _row("a poll each second", *every_second),
        _row(f"first change, {scale}", we[0], they[0]),
        _row(f"a change that follows, {scale}", we[1], they[1], f"ours {SHORTEST_S + 0.1:g} s"),
        Row("from a message to its hook, by websocket", _s(pushed_s), target="0.2 s"),
    ]


def _row(what: str, ours: float, theirs: float, target: str = "") -> Row:
    return Row(f"from a change to its hook, {what}", _s(ours), _s(theirs), theirs / ours, target)


def _changes(bench: Bench, side: Side, repeats: int) -> tuple[float, float]:
    """The median of a change after a long quiet, and of one that comes half a shortest pause after that."""
    firsts, seconds = [], []
    process = _settled(bench, side, SHORTEST_S, LONGEST_S)
    try:
        for _ in range(repeats):
            time.sleep(GROWN_S + random.uniform(0, LONGEST_S))
            firsts.append(_begun(bench))
            time.sleep(SHORTEST_S / 2)
            seconds.append(_begun(bench))
    finally:
        cost.stop(process)
    return statistics.median(firsts), statistics.median(seconds)


def _every_second(bench: Bench, side: Side, repeats: int) -> float:
    process = _settled(bench, side, 1.0, 1.0)
    taken = []
    try:
        for _ in range(repeats):
            time.sleep(1.0 + random.uniform(0, 1.0))
            taken.append(_begun(bench))
    finally:
        cost.stop(process)
    return statistics.median(taken)


def _settled(bench: Bench, side: Side, shortest_s: float, longest_s: float) -> subprocess.Popen[bytes]:
    """A daemon that has done one deployment."""
    began = bench.place() / "began"
    bench.endpoint.serve(metadata.document(1, bench.endpoint.url, _says(began)))
    process = cost.start(bench.side(side).daemon(shortest_s, longest_s))
    cost.until(began.exists, "no hook began")
    return process


def _begun(bench: Bench) -> float:
    """Replace the deployment on the server; seconds until the new one's script has begun."""
    began = bench.place() / "began"
    changed = metadata.document(1, bench.endpoint.url, _says(began))
    start = time.monotonic()
    bench.endpoint.serve(changed)
    cost.until(began.exists, "no hook began", LOOK_S)
    return time.monotonic() - start


def _pushed(bench: Bench, repeats: int) -> float:
    """The same by a push, from a queue that polling alone would look at after ten minutes."""
    side = Ours(bench.place(), sources="heat_local,zaqar")
    with closing(Push()) as push, closing(Queue()) as queue:
        queue.push_url = push.url
        queue.expires_at = "2999-01-01T00:00:00.000000Z"
        side.local_file.parent.mkdir(parents=True)
        side.local_file.write_text(json.dumps({"os-collect-config": queue.section()}))
        process = cost.start(side.daemon(600.0, 600.0))
        try:
            if not push.subscribed.wait(cost.PATIENCE_S):
                raise TimeoutError("the agent does not subscribe")
            time.sleep(0.5)  # the poll that follows a new subscription
            return statistics.median(_message(bench, push, queue, number) for number in range(repeats))
        finally:
            cost.stop(process)


def _message(bench: Bench, push: Push, queue: Queue, number: int) -> float:
    began = bench.place() / "began"
    body = metadata.document(1, bench.endpoint.url, _says(began))
    start = time.monotonic()
    queue.held.append({"id": f"message{number}", "body": body})
    push.push({})
    cost.until(began.exists, "no hook began", LOOK_S)
    taken = time.monotonic() - start
    time.sleep(0.5)  # the message is deleted, the outcome sent
    return taken


def _says(path: Path) -> str:
    return f"#!/bin/sh\n: > {path}\n"


def _s(seconds: float) -> str:
    return f"{seconds:.2f} s"
