"""The least that one deployment can cost on this machine: what the promises need, and nothing of an agent around it."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from benchmarks.metadata import TRIVIAL
from benchmarks.server import Endpoint


@dataclass(frozen=True)
class Floor:
    """Seconds for one deployment: its process, its durable writes, its signal; and all three when undisturbed."""

    process_s: float
    writes_s: float
    signal_s: float
    quiet_s: float

    @property
    def total_s(self) -> float:
        return self.process_s + self.writes_s + self.signal_s


def measure(place: Path, endpoint: Endpoint, sizes: Sequence[int], *, loops: int) -> Floor:
    """The means over `loops` deployments; `sizes` are the bytes of each durable write."""
    script = place / "script"
    script.write_text(TRIVIAL)
    script.chmod(0o700)
    connection = HTTPConnection("127.0.0.1", endpoint.port, timeout=10)
    directory = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    laps = []
    try:
        for number in range(loops):
            marks = [time.perf_counter()]
            _process(script)
            marks.append(time.perf_counter())
            _writes(directory, sizes, number)
            marks.append(time.perf_counter())
            _signal(connection)
            marks.append(time.perf_counter())
            laps.append([after - before for before, after in itertools.pairwise(marks)])
    finally:
        os.close(directory)
        connection.close()
    process_s, writes_s, signal_s = (sum(parts) / loops for parts in zip(*laps, strict=True))
    return Floor(process_s, writes_s, signal_s, quiet([sum(lap) for lap in laps]))


def best(floors: Sequence[Floor]) -> Floor:
    return min(floors, key=lambda floor: floor.total_s)


def quiet(seconds: Sequence[float]) -> float:
    """The time that a tenth of them stay below: what it takes while nobody else is using the machine."""
    return sorted(seconds)[len(seconds) // 10]


def _process(script: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os.execv(script, [str(script)])
    os.waitpid(pid, 0)


def _writes(directory: int, sizes: Sequence[int], deployment: int) -> None:
    """As agent.state.write: a new file, fsync, rename, fsync of the directory. The last one replaces the first."""
    for number, size in enumerate(sizes):
        fd = os.open("new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600, dir_fd=directory)
        os.write(fd, b"x" * size)
        os.fsync(fd)
        os.close(fd)
        os.rename("new", f"{deployment}.{number % (len(sizes) - 1)}", src_dir_fd=directory, dst_dir_fd=directory)
        os.fsync(directory)


def _signal(connection: HTTPConnection) -> None:
    body = b'{"deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0}'
    connection.request("POST", "/signal/floor", body, {"Content-Type": "application/json"})
    connection.getresponse().read()
