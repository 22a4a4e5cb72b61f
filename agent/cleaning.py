"""What containers are left of deployments that left the metadata, cleaned up in a process beside the agent.

The hooks that leave containers behind know how (`sync`). Engines may hang, so the agent never waits for one: a forked
process with a bound does it. Until it has ended, no deployment of these groups is begun, for it may want the names and
ports of what is removed. Doing it twice does no harm: it is noted only afterwards, and a crash repeats it.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from agent import dispatch, hooks, log, model, runner, state
from agent.dispatch import Running
from agent.errors import AgentError, Interrupted
from agent.journal import Journal
from agent.live import LiveLog
from agent.model import Deployment, Entry, JsonMap
from agent.settings import UNIT, Settings
from agent.state import Lock

KEY = "cleaning.up"  # of no deployment: no key holds a dot
LONGEST_S = 900
PAUSE_S = (60.0, 3600.0)  # between two tries: first, longest


def left(entries: Collection[Entry], listed: Collection[str], sources: Collection[str]) -> tuple[Entry, ...]:
    """Of which deployments containers may be left: begun, no longer listed, not cleaned up after.

    None while one of them came from a source that is not asked any more: that one could not say whether it left.
    """
    found = tuple(
        entry
        for entry in entries
        if entry.group in hooks.SYNCED
        and entry.key not in listed
        and not entry.cleaned
        and entry.progress not in (model.RECEIVED, model.RUNNING)
    )
    return found if all(entry.source in sources for entry in found) else ()


class Cleaning:
    """What is to be cleaned up, and when that is tried again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._left: tuple[Entry, ...] = ()
        self._begun: tuple[Entry, ...] = ()
        self._pause_s = 0.0
        self._again_at = 0.0
        self._clock = clock

    def look(self, entries: Collection[Entry], listed: Collection[str], sources: Collection[str]) -> None:
        """Find out what is to be done; there are no `sources` while nobody can say what is listed."""
        found = left(entries, listed, sources) if self._clock() >= self._again_at else ()
        begun = {entry.key for entry in self._begun}
        self._left = tuple(entry for entry in found if entry.key not in begun)

    def holds(self, group: str) -> bool:
        """Whether a deployment of this group is to wait for it."""
        return bool(self._left or self._begun) and group in hooks.SYNCED

    @property
    def due(self) -> float:
        """When it is to be tried again; infinity when it is not."""
        return self._again_at if self._again_at > self._clock() else float("inf")

    def begin(self, listed: Mapping[str, Deployment], journal: Journal, settings: Settings) -> Running | None:
        """Start the process that does what is to be done; None when nothing is, or it cannot be now.

        While one of an earlier agent is at it, that one is to be waited for first.
        """
        if not self._left:
            return None
        groups = tuple(sorted({entry.group for entry in self._left}))
        try:
            started = start(groups, tuple(listed.values()), journal, settings)
        except OSError as exc:
            self._fail(exc.strerror or "no process")
            return None
        if started is None:
            return dispatch.adopt(KEY, journal)
        self._begun, self._left = self._left, ()
        log.info("cleaning up", groups=groups, left=[entry.id for entry in self._begun])
        return started

    def ended(self, status: int, journal: Journal) -> None:
        """Note what was done, or when it is tried again."""
        begun, self._begun = self._begun, ()
        if not begun:  # it was an earlier agent's
            return
        if status:
            self._fail(f"it ended with {status}, see its log")
            return
        for entry in begun:
            journal.note(entry.key, cleaned_at=self._clock())
        log.info("cleaned up", left=[entry.id for entry in begun])
        self._pause_s, self._again_at = 0.0, 0.0

    def _fail(self, reason: str) -> None:
        first, longest = PAUSE_S
        self._pause_s = min(max(self._pause_s * 2, first), longest)
        self._left, self._again_at = (), self._clock() + self._pause_s
        log.error("containers are left over", reason=reason, log=f"{KEY}.log", again_in_s=self._pause_s)


def start(
    groups: tuple[str, ...], listed: tuple[Deployment, ...], journal: Journal, settings: Settings
) -> Running | None:
    """Fork a process that cleans up for some groups; None while one of an earlier agent does. Raises OSError."""
    lock = state.try_lock(journal.lock_path(KEY))
    if lock is None:
        return None
    try:
        pid = os.fork()
        if pid == 0:
            _main(groups, listed, settings, lock)
    finally:
        lock.release()  # of our copy: the child keeps the lock
    return Running(KEY, pid, os.pidfd_open(pid))


def in_unit() -> NoReturn:
    """The same as systemd runs it; stdin is the lock."""
    from agent import handover  # noqa: PLC0415 - as below

    taken = handover.take()
    signal.signal(signal.SIGTERM, runner.interrupt)
    listed = tuple(handover.from_json(given) for given in taken.work["listed"])
    try:
        status = _clean(tuple(taken.work["groups"]), listed, taken.settings, Lock(Path(), taken.stdin))
    except Interrupted:
        status = 75
    os._exit(status)


def _clean(groups: tuple[str, ...], listed: tuple[Deployment, ...], settings: Settings, lock: Lock) -> int:
    live = LiveLog(settings.path(settings.log_dir) / f"{KEY}.log", settings.output_limit)
    signal.signal(signal.SIGALRM, signal.getsignal(signal.SIGTERM))
    signal.alarm(LONGEST_S)
    lock.note({"pid": os.getpid(), "who": "cleaning up"})
    problems = [f"{group}: {line}" for group in groups for line in hooks.sync(group, listed, settings, os.environ)]
    live.write("".join(f"{problem}\n" for problem in problems).encode("utf-8", "replace"))
    live.end()
    return 1 if problems else 0


def _main(groups: tuple[str, ...], listed: tuple[Deployment, ...], settings: Settings, lock: Lock) -> NoReturn:
    status = 70
    try:
        if settings.runner == UNIT:
            from agent import handover  # noqa: PLC0415 - for this process alone

            runner.detach(2, lock.fileno())
            work: JsonMap = {"groups": list(groups), "listed": [handover.as_json(deployment) for deployment in listed]}
            status = handover.run("agent.cleaning", "cleaning", work, settings, (lock.fileno(), 0), LONGEST_S + 60.0)
        else:
            runner.detach(lock.fileno())
            status = _clean(groups, listed, settings, lock)
    except AgentError as exc:
        log.error("containers are left over", reason=str(exc))
        status = 1
    except Interrupted:
        with suppress(OSError):  # the log is full
            os.write(2, f"not done within {LONGEST_S} s, or told to end\n".encode())
    except Exception:  # noqa: BLE001 - the last frame of this process: a traceback in the log
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
