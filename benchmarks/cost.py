"""What a program cost: wall time, CPU of its whole tree, memory."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 1 << 20
PATIENCE_S = 60.0


@dataclass(frozen=True)
class Command:
    """A program to measure; both streams go to `log`, so that no reader costs anything."""

    argv: tuple[str, ...]
    env: dict[str, str]
    log: Path

    def last_words(self) -> str:
        """The end of its log, for a message: the temporary directory does not outlive the run."""
        return self.log.read_text(errors="replace")[-1500:]


@dataclass(frozen=True)
class Cost:
    """Of one run. `peak` is the largest sum of proportional shares (Pss) seen in the tree, 0 when nobody looked."""

    status: int
    wall_s: float
    cpu_s: float
    peak: int = 0


def start(command: Command) -> subprocess.Popen[bytes]:
    with command.log.open("ab") as log:
        return subprocess.Popen(
            command.argv,
            env=command.env,
            cwd=command.log.parent,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def run(command: Command, *, timeout_s: float, look_s: float = 0.0) -> Cost:
    """Run to the end; with `look_s`, look at the memory of its tree that often. Raises TimeoutError."""
    began = time.monotonic()
    process = start(command)
    peak = 0
    pidfd = os.pidfd_open(process.pid)
    try:
        while not _ended(pidfd, look_s or timeout_s):
            if time.monotonic() - began > timeout_s:
                raise TimeoutError(f"{command.argv[0]} took more than {timeout_s:.0f} s: {command.last_words()}")
            peak = max(peak, memory(process.pid, ("Pss",)))
    except BaseException:
        stop(process)
        raise
    finally:
        os.close(pidfd)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    return Cost(process.returncode, wall, usage.ru_utime + usage.ru_stime, peak)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a program that we started, with all that it started."""
    pids = tree(process.pid)
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in pids[1:]:
        with suppress(ProcessLookupError):  # it ended with its parent
            os.kill(pid, signal.SIGKILL)


def spent_s(pid: int) -> float:
    """CPU seconds of a process so far, with those of its children that have ended; the kernel counts hundredths."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def until(reached: Callable[[], bool], otherwise: str, look_s: float = 0.05) -> None:
    """Wait for something to happen. Raises TimeoutError, saying what did not."""
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {PATIENCE_S:.0f} s {otherwise}")
        time.sleep(look_s)


def memory(pid: int, fields: Iterable[str]) -> int:
    """The sum of some fields of smaps_rollup over a process and its descendants, in bytes."""
    wanted = {f"{name}:" for name in fields}
    total = 0
    for one in tree(pid):
        with suppress(OSError):  # it has just ended
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines[1:] if line.split()[0] in wanted)
    return total


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for one in found:
        with suppress(OSError):
            found += map(int, Path(f"/proc/{one}/task/{one}/children").read_text().split())
    return found


def _ended(pidfd: int, wait_s: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(wait_s * 1000))
