"""What an operator asks for by hand, on the ways that the agent itself goes: marks, locks, a runner's own cancellation.

Nothing is signalled from here and no record of the agent's is written while it runs; it is told by SIGHUP to look.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

from agent import jsontext, state
from agent.errors import StateError, UsageError
from agent.state import Places


def rerun(key: str, places: Places) -> None:
    """Remove the mark, durably: the next look of an agent begins the deployment anew.

    Its runner's lock is held meanwhile, so nothing can begin in between. Raises UsageError when it runs.
    """
    lock = state.try_lock(places.lock(key))
    if lock is None:
        raise UsageError(f"{key} runs just now; cancel it first, or wait for its end")
    try:
        state.remove(places.mark(key))
        with suppress(OSError):  # a lock file left behind does no harm
            lock.path.unlink()
    finally:
        lock.release()


def cancel(key: str, places: Places) -> int:
    """Tell the runner to end its hook with all that belongs to it; returns its pid.

    Raises UsageError when there is none, StateError when it may not be told.
    """
    pid = _tell(places.lock(key), signal.SIGTERM)
    if not pid:
        raise UsageError(f"{key} does not run; there is nothing to cancel")
    return pid


def tell_agent(places: Places) -> int:
    """Tell a running daemon to look at once; returns its pid, 0 when there is none. `--once` is not disturbed."""
    if state.holder_of(places.agent_lock).get("who") != "agent run":
        return 0
    return _tell(places.agent_lock, signal.SIGHUP)


def _tell(lock: Path, number: signal.Signals) -> int:
    """Send a signal to whoever holds the lock; returns its pid, 0 when nobody does."""
    if not state.held(lock):
        return 0
    pid = int(jsontext.number(state.holder_of(lock).get("pid")))
    try:
        process = os.pidfd_open(pid)
    except OSError as exc:
        raise _unreachable(lock, pid, exc.strerror) from exc
    try:
        if not _has_open(pid, lock):  # a pid of another boot or of another container
            raise _unreachable(lock, pid, "that process does not hold it")
        signal.pidfd_send_signal(process, number)
    except ProcessLookupError:  # it has just ended
        return 0
    except PermissionError as exc:
        raise _unreachable(lock, pid, exc.strerror) from exc
    finally:
        os.close(process)
    return pid


def _unreachable(lock: Path, pid: int, why: str | None) -> StateError:
    return StateError(
        f"telling the process that holds {lock} (pid {pid}): {why}; run this as root, where the agent itself runs"
    )


def _has_open(pid: int, path: Path) -> bool:
    wanted = path.stat()
    directory = Path(f"/proc/{pid}/fd")
    for name in os.listdir(directory):
        with suppress(FileNotFoundError):  # closed in between
            found = (directory / name).stat()
            if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                return True
    return False
