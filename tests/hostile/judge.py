"""The laws: a result or an error of our own kind, within a second of work, within 256 MiB more than there was.

Each round runs in a child that the kernel bounds, so that what breaks a law breaks nothing else.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import signal
import tempfile
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from agent.errors import AgentError

MEMORY = 256 << 20
WORK_S = 1.0  # of the processor, so that a busy machine is not taken for a loop
WAIT_S = 30.0  # by the clock, for what waits
FILE = 64 << 20
SHOWN = 3000


class Broken(Exception):
    """A law was broken, in words."""


class _TooLong(BaseException):
    """The time of one example is over; nothing of ours may catch it."""


@dataclass(frozen=True)
class Door:
    """Where something comes in from outside: what is sent, and what takes it in an empty directory.

    `fine` are kinds of error that whoever calls there expects besides our own.
    """

    name: str
    sent: st.SearchStrategy[Any]
    take: Callable[[Any, Path], object]
    fine: tuple[type[Exception], ...] = field(default=())


def inspect(door: Door, seed: int, examples: int, seconds: float) -> str:
    """What the round found, "" when the laws held."""
    with tempfile.TemporaryDirectory(prefix="hostile-") as directory:
        said, last = Path(directory, "said"), Path(directory, "last")
        said.touch()
        pid = os.fork()
        if not pid:
            _round(door, seed, examples, said, last, Path(directory, "scratch"), seconds)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        found = said.read_text("utf-8", "replace")
        if status and not found:
            sent = last.read_text("utf-8", "replace") if last.exists() else "nothing yet"
            found = f"the process ended with {status} at {sent}"
        return f"{door.name}, seed {seed}: {found}" if found else ""


def take(door: Door, sent: Any, scratch: Path) -> None:
    """One example; raises Broken when it breaks a law."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    signal.setitimer(signal.ITIMER_PROF, WORK_S)
    signal.setitimer(signal.ITIMER_REAL, WAIT_S)
    try:
        door.take(sent, scratch)
    except (AgentError, *door.fine) as exc:
        if not str(exc) or "Traceback" in str(exc):
            raise Broken(f"the error says nothing: {exc!r}") from exc
    except _TooLong as exc:
        where = "".join(traceback.format_tb(exc.__traceback__)[-4:])
        raise Broken(f"took more than {WORK_S:g} s\n{where}") from exc
    except Exception as exc:
        raise Broken(f"{type(exc).__name__}: {exc}\n{''.join(traceback.format_tb(exc.__traceback__)[-6:])}") from exc
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _round(door: Door, seed: int, examples: int, said: Path, last: Path, scratch: Path, seconds: float) -> NoReturn:
    status = 1
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):  # what we log is not looked at here
            os.dup2(null, standard)
        _confine(seconds)
        _try(door, seed, examples, last, scratch)
        status = 0
    except BaseException as exc:  # noqa: BLE001 - the last frame of this process
        words = str(exc) if isinstance(exc, Broken) else f"{exc!r}\n{traceback.format_exc()}"
        said.write_text(f"{words[:SHOWN]}\nsent: {_read(last)}\n", "utf-8", "replace")
    finally:
        os._exit(status)


def _read(path: Path) -> str:
    return path.read_text("utf-8", "replace") if path.exists() else ""


def _try(door: Door, seed: int, examples: int, last: Path, scratch: Path) -> None:
    @hypothesis.seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @hypothesis.given(door.sent)
    def one(sent: Any) -> None:
        last.write_text(repr(sent)[:SHOWN], "utf-8", "replace")
        take(door, sent, scratch)

    one()


def _confine(seconds: float) -> None:
    """Bounds that the kernel keeps, and alarms within them."""

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _TooLong

    warnings.simplefilter("ignore")  # a neighbour's tests may turn them into errors
    signal.signal(signal.SIGPROF, ring)
    signal.signal(signal.SIGALRM, ring)
    # address space, so what is there counts already: the interpreter, hypothesis, what a neighbour's test imported
    mapped = int(re.findall(r"VmSize:\s+(\d+) kB", Path("/proc/self/status").read_text())[0]) << 10
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (FILE, FILE))
    spent = int(sum(resource.getrusage(resource.RUSAGE_SELF)[:2]))
    resource.setrlimit(resource.RLIMIT_CPU, (spent + int(seconds) + 60, spent + int(seconds) + 70))
