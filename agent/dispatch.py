"""Runners as the agent sees them: begun, taken over, cancelled, and what is made of one that died.

The lock that a runner holds for as long as it lives tells a restarted agent "still running" from "interrupted" without
guessing at pids. What the runner itself does is in runner.py.

    lock taken -> journal.begin (durable) -> fork -> hook -> journal.finish (durable) -> lock dropped by the kernel
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent import hooks, model, progress, runner, state, tree
from agent.errors import StateError
from agent.hooks import workplace
from agent.journal import Journal
from agent.model import Deployment, Entry, Outcome
from agent.settings import UNIT, Settings
from agent.systemd import units
from agent.trust import judge

HAND_OVER_S = 30.0  # shorter than systemd waits for a service to stop
RERUNS = 3  # of a hook that was interrupted and asks for it
ATTEMPT, REBOOTS = "OS_DEPLOY_AGENT_ATTEMPT", "OS_DEPLOY_AGENT_REBOOTS"


@dataclass(frozen=True, slots=True)
class Running:
    """A runner seen from the agent. `pidfd` becomes readable when it ends (-1: look at the lock now and then).

    `trouble` becomes readable when the runner cannot store its outcome; -1 for a runner of an earlier agent.
    `handing_over` is a child that has systemd start the runner, and ends then.
    """

    key: str
    pid: int
    pidfd: int
    trouble: int = -1
    child: bool = True
    handing_over: bool = False

    def untroubled(self) -> Running:
        """The same runner, which will not complain any more."""
        os.close(self.trouble)
        return replace(self, trouble=-1)

    def leave(self) -> None:
        """Stop watching; the runner goes on."""
        for fd in (self.pidfd, self.trouble):
            if fd >= 0:
                os.close(fd)

    def close(self) -> int:
        """The runner has ended; how, for a child of ours."""
        self.leave()
        if self.child:
            return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return 0


def start(deployment: Deployment, journal: Journal, settings: Settings) -> Running | None:
    """Begin a deployment: durable mark first, then the process. None when a runner of it is alive already.

    What the policy of this guest refuses has a runner too, which says so instead of running a hook.
    Raises StateError when the mark cannot be written or there is no room for a process; nothing was started then.
    """
    refusal = judge.refusal(deployment, settings)  # before anything is written; the lock is not its to inherit
    lock = state.try_lock(journal.lock_path(deployment.key))
    if lock is None:
        return None
    try:
        hear, tell = _pipe(deployment)  # before the mark: one without a runner would count as interrupted
        try:
            journal.begin(deployment)
            told = {**_told(deployment, journal), **progress.told(deployment, journal.entry(deployment.key), settings)}
            _load()
            pid = _fork(deployment, journal)
            if pid == 0:
                runner.main(deployment, journal, settings, lock, tell, told, refusal)
        except StateError:
            os.close(hear)
            raise
        finally:
            os.close(tell)
    finally:
        lock.release()  # of our copy: the child keeps the lock
    return Running(deployment.key, pid, os.pidfd_open(pid), hear, handing_over=settings.runner == UNIT)


def _load() -> None:
    """What each child would load for itself otherwise: the usual hook, and a library."""
    from agent.hooks import script  # noqa: F401, PLC0415 - an agent that begins nothing does without

    tree.prctl()


def _pipe(deployment: Deployment) -> tuple[int, int]:
    try:
        return os.pipe()
    except OSError as exc:
        raise StateError(f"starting the runner of {deployment.id}: {exc.strerror}; see ulimit -n") from exc


def _fork(deployment: Deployment, journal: Journal) -> int:
    try:
        return os.fork()
    except OSError as exc:
        journal.not_begun(deployment.key)
        raise StateError(f"starting the runner of {deployment.id}: {exc.strerror}; end other processes") from exc


def adopt(key: str, journal: Journal) -> Running:
    """A runner that an earlier agent started and that still holds its lock."""
    pid = state.holder_of(journal.lock_path(key)).get("pid")
    try:
        return Running(key, int(str(pid)), os.pidfd_open(int(str(pid))), child=False)
    except (ValueError, OSError):  # it has not written its pid yet, or is just gone: the lock tells
        return Running(key, 0, -1, child=False)


def follow(running: Running, journal: Journal) -> Running:
    """The runner in the unit that a child of ours has handed a deployment to; its complaints come the same way."""
    if running.pidfd >= 0:
        os.close(running.pidfd)
    if running.child:
        os.waitpid(running.pid, 0)
    return replace(adopt(running.key, journal), trouble=running.trouble)


def leave(runners: Iterable[Running]) -> None:
    """Stop watching runners, which go on; those that are just being handed to systemd are waited for, but not long.

    Who stops the agent may be about to exchange its files, from which child and unit import what they need.
    """
    deadline = time.monotonic() + HAND_OVER_S
    for running in runners:
        if running.handing_over:
            select.select([running.pidfd], [], [], max(deadline - time.monotonic(), 0.0))
        running.leave()


def cancel(running: Running) -> None:
    """Ask a runner to end its hook, with all that belongs to it. It stores an outcome that nobody will send."""
    if running.pidfd >= 0:
        with suppress(ProcessLookupError):  # it ended by itself
            signal.pidfd_send_signal(running.pidfd, signal.SIGTERM)


def clean_up(key: str, journal: Journal, settings: Settings) -> None:
    """End what the hook of a runner that died has left running, and remove the private files it had for its run."""
    mark = workplace.run_mark(key, settings)
    tree.end_all(lambda: [*tree.marked(workplace.RUN_MARK, mark), *units.members(key)], settings.kill_grace)
    group = journal.record(key).get("group")
    for path in hooks.private_files(group, key, settings, os.environ) if isinstance(group, str) else ():
        with suppress(OSError):  # most were never there
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)


def may_rerun(entry: Entry) -> bool:
    """Whether an interrupted deployment that asks for it has an attempt left."""
    return entry.attempt <= RERUNS


def rerun(key: str, journal: Journal, settings: Settings) -> bool:
    """Let an interrupted deployment that asks for it be run again; False when that was done often enough.

    Counted before the mark goes: a crash in between costs an attempt, never adds one.
    """
    if not may_rerun(journal.entry(key)):
        return False
    attempt = journal.entry(key).attempt
    clean_up(key, journal, settings)
    journal.note(key, attempt=attempt + 1)
    journal.unmark(key)
    return True


def interrupted(key: str, journal: Journal, settings: Settings) -> None:
    """Turn a deployment whose runner died into an outcome, after cleaning up."""
    clean_up(key, journal, settings)
    began = _modified(journal.places.mark(key))
    message = (
        f"interrupted: the hook began at {began} and the process that ran it ended without an outcome (a reboot, a "
        f"kill or a lack of memory); it is not run again by itself, {_why_not(journal.entry(key))}; update the "
        f"deployment, or remove {journal.places.mark(key)} on the guest to repeat it\n"
    )
    journal.finish(key, Outcome(model.STATUS_INTERRUPTED, "", message).body())


def _why_not(entry: Entry) -> str:
    if entry.attempt > 1:
        return f"because this was attempt {entry.attempt}"
    return "because a hook runs at most once unless its option on_interrupt is rerun"


def _told(deployment: Deployment, journal: Journal) -> dict[str, str]:
    """What a hook that may run more than once is told of it, in its environment."""
    entry = journal.entry(deployment.key)
    attempt = {ATTEMPT: str(entry.attempt)} if deployment.manner.rerun else {}
    return {**attempt, REBOOTS: str(entry.reboots)} if entry.reboots else attempt


def _modified(path: Path) -> str:
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(path.stat().st_mtime))
    except OSError:  # removed just now
        return "an unknown time"
