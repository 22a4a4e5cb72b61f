"""The whole tree of descendants of this process: found again however a descendant daemonised, and ended to the last.

This process is a child subreaper, so that an orphan among its descendants becomes its own child; walking /proc from
here finds them all.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> None:
    """Orphans among our descendants become our children, not init's (prctl(2)); needs no privilege."""
    prctl()(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


@cache
def prctl() -> Callable[..., int]:
    """The system call; loading it costs 4 ms, which only a process that runs programs pays."""
    import ctypes  # noqa: PLC0415

    function: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
    return function


def descendants(pid: int) -> list[int]:
    """Living descendants of `pid`, nearest first."""
    children: dict[int, list[int]] = {}
    if not _children_of(pid):
        return []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and (parent := parent_of(int(entry))):
            children.setdefault(parent, []).append(int(entry))
    found, queue = [], [pid]
    while queue:
        below = children.get(queue.pop(0), [])
        found += below
        queue += below
    return found


def _children_of(pid: int) -> bool:
    """Whether `pid` has any child: the cheap question, asked before all of /proc is read."""
    try:
        return bool(Path(f"/proc/{pid}/task/{pid}/children").read_bytes())
    except OSError:  # a kernel without CONFIG_PROC_CHILDREN
        return True


def parent_of(pid: int) -> int:
    """The parent of a living process, 0 for one that is gone or a zombie."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[:2]
    except (OSError, ValueError):
        return 0
    return 0 if state in (b"Z", b"X") else int(parent)


def end(grace_s: float, *, spare: Iterable[int] = ()) -> None:
    """End all our descendants but `spare`: SIGTERM, then SIGKILL after the grace, until none is left."""
    spared = set(spare)
    end_all(lambda: [pid for pid in descendants(os.getpid()) if pid not in spared], grace_s)


def marked(variable: str, value: str) -> list[int]:
    """The processes whose environment says `variable=value`: what a runner that was killed has left behind."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            with suppress(OSError):  # gone, or not ours to look at
                if wanted in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0") and parent_of(int(entry)):
                    found.append(int(entry))
    return found


def end_all(alive: Callable[[], list[int]], grace_s: float) -> None:
    """End the processes that `alive` finds, again and again: SIGTERM, then SIGKILL after the grace."""
    deadline = time.monotonic() + grace_s
    told: set[int] = set()
    pids = alive()
    while pids and time.monotonic() < deadline:
        for pid in pids:
            if pid not in told:
                _kill(pid, signal.SIGTERM)
                _kill(pid, signal.SIGCONT)  # a stopped process hears nothing else
        told |= set(pids)
        time.sleep(0.02)
        pids = alive()
    last = time.monotonic() + 5.0  # a process in an uninterruptible wait is the kernel's to end
    while pids and time.monotonic() < last:
        for pid in pids:
            _kill(pid, signal.SIGKILL)
        time.sleep(0.01)
        pids = alive()


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it ended first, or became another user's
        os.kill(pid, number)
