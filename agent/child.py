"""A function of ours in a forked child: for work whose imports, memory or crashes this process does without."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn

CHUNK = 1 << 16


def ask(function: Callable[[], bytes], timeout_s: float) -> bytes | None:
    """What `function` returns in a child; None when it failed or took longer, and was ended."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if not pid:
        _speak(function, writing)
    os.close(writing)
    deadline = time.monotonic() + timeout_s
    said = bytearray()
    try:
        while select.select([reading], [], [], max(deadline - time.monotonic(), 0.0))[0]:
            chunk = os.read(reading, CHUNK)
            if not chunk:
                return bytes(said) if os.waitstatus_to_exitcode(_reaped(pid)) == 0 else None
            said += chunk
        os.kill(pid, signal.SIGKILL)
        _reaped(pid)
    finally:
        os.close(reading)
    return None


def _reaped(pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def _speak(function: Callable[[], bytes], writing: int) -> NoReturn:
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        view = memoryview(function())
        while view:
            view = view[os.write(writing, view) :]
        status = 0
    except Exception:  # noqa: BLE001 - the last frame of this process
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
