"""What idle polls cost the cloud: CPU of a real Keystone, Heat, Swift and Zaqar, for each way of polling."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import cost, ours, peers
from benchmarks.scratch import Bench
from benchmarks.server import CHECKOUT
from benchmarks.table import Row
from tests.e2e.cloud import Heat
from tests.lab import processes, services
from tests.lab.model import Lab

WAYS = {"heat": "POLL_SERVER_HEAT", "cfn": "POLL_SERVER_CFN", "request": "POLL_TEMP_URL", "zaqar": "ZAQAR_MESSAGE"}
TARGETS_S = {"heat": 12.9, "cfn": 261.0, "request": 11.1, "zaqar": 5.9}
IDLE_S = 5.0


@dataclass(frozen=True)
class Polls:
    """What a thousand polls cost, in CPU seconds: of all services together, and of who polled."""

    cloud_s: float
    client_s: float


def measure(bench: Bench) -> list[Row]:
    number = 20 if bench.quick else 60
    rows = []
    with cloud(bench.place()) as heat:
        for source, way in WAYS.items():
            section = _bootstrap(heat, source, way)
            idle = _idle(heat.lab)
            we = _polls(heat.lab, idle, _ours(bench, section, source), number)
            they = _polls(heat.lab, idle, _theirs(bench, section, source), number)
            target = f"ours {TARGETS_S[source]:g} s"
            rows += [
                Row(f"1000 idle polls by {way}, the cloud's CPU", *_cells(we.cloud_s, they.cloud_s), target),
                Row(f"1000 idle polls by {way}, the guest's CPU", *_cells(we.client_s, they.client_s)),
            ]
    return rows


@contextmanager
def cloud(directory: Path) -> Iterator[Heat]:
    lab = services.open_lab(directory)
    try:
        services.start(lab, tethered=True)
        yield Heat(lab)
    finally:
        services.stop(lab)


def _bootstrap(heat: Heat, source: str, way: str) -> Mapping[str, Any]:
    """What cloud-init would tell a server whose one deployment nobody waits for."""
    parameters = {"poll_transport": way, "signal_transport": "NO_SIGNAL", "runs": "/dev/null"}
    stack = heat.create(f"bench-{source}", "script.yaml", parameters)
    heat.wait(stack, "CREATE_COMPLETE")
    return heat.bootstrap(stack)


def _ours(bench: Bench, section: Mapping[str, Any], source: str) -> list[str]:
    side = ours.Ours(bench.place())
    side.local_file.parent.mkdir(parents=True)
    side.local_file.write_text(json.dumps({"os-collect-config": section}))
    return [ours.python(), "-m", "benchmarks.poll_ours", str(side.root), source]


def _theirs(bench: Bench, section: Mapping[str, Any], source: str) -> list[str]:
    """oslo.config takes a dollar for the beginning of a reference."""
    lines = [f"{key} = {str(value).replace('$', '$$')}" for key, value in section[source].items() if value is not None]
    file = bench.place() / "os-collect-config.conf"
    file.write_text(f"[{source}]\n" + "\n".join(lines) + "\n")
    return [str(peers.environment() / "bin/python"), str(CHECKOUT / "benchmarks/poll_theirs.py"), str(file), source]


def _polls(lab: Lab, idle: float, command: list[str], number: int) -> Polls:
    """The polls of one process, which waits for a word when it is ready to begin."""
    env = {"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "LC_ALL": "C.UTF-8"}
    argv, log = [*command, str(number)], lab.log / "poller.log"
    with (
        log.open("a") as errors,
        subprocess.Popen(
            argv, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        ) as poller,
    ):
        assert poller.stdin
        assert poller.stdout
        try:
            _expect(poller.stdout.readline(), "ready", log)
            began, cloud_s, client_s = time.monotonic(), _spent(lab), cost.spent_s(poller.pid)
            print(file=poller.stdin, flush=True)
            _expect(poller.stdout.readline(), "done", log)
            client_s = cost.spent_s(poller.pid) - client_s
            cloud_s = _spent(lab) - cloud_s - idle * (time.monotonic() - began)
        finally:
            poller.kill()
    return Polls(1000 * cloud_s / number, 1000 * client_s / number)


def _expect(said: str, word: str, log: Path) -> None:
    if said.strip() != word:
        raise RuntimeError(f"a poller said {said!r} instead of {word}: {log.read_text()[-1500:]}")


def _idle(lab: Lab) -> float:
    """CPU seconds that the services take in a second while nobody asks them."""
    before = _spent(lab)
    time.sleep(IDLE_S)
    return (_spent(lab) - before) / IDLE_S


def _spent(lab: Lab) -> float:
    """CPU seconds of all services so far; a service is the tree below the process that it was started by."""
    known = [processes.running(lab, name) for name in lab.services]
    return sum(cost.spent_s(one) for pid in known if pid for one in cost.tree(pid))


def _cells(ours_s: float, theirs_s: float) -> tuple[str, str, float]:
    return f"{ours_s:.1f} s", f"{theirs_s:.1f} s", theirs_s / ours_s
