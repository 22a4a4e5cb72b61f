"""One deployment in a process of its own.

The runner holds a lock for as long as it lives, so that a restarted agent can tell "still running" from "interrupted"
without guessing at pids. It is a forked child in its own session: an agent that stops or dies leaves it alone, and it
stores its outcome all the same.

    lock taken -> journal.begin (durable) -> fork -> hook -> journal.finish (durable) -> lock dropped by the kernel

With the setting runner=unit the child hands lock and deployment to a systemd unit (handover.py), whose program is
`in_unit` below; everything else is the same.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from agent import hooks, log, model, options, process, progress, state, tree
from agent.errors import StateError, Unavailable
from agent.hooks import (
    reading,
    script,  # noqa: F401 - the usual hook, loaded once here instead of in each child
    user,
    workplace,
)
from agent.journal import Journal
from agent.live import JOURNALD, LiveLog, journald
from agent.model import Deployment, Entry, JsonMap, Outcome
from agent.settings import UNIT, Settings
from agent.state import Lock, Places
from agent.systemd import notify, units
from agent.trust import judge

RERUNS = 3  # of a hook that was interrupted and asks for it
ATTEMPT, REBOOTS = "OS_DEPLOY_AGENT_ATTEMPT", "OS_DEPLOY_AGENT_REBOOTS"
REBOOT_COMMAND_S = 60.0
BOOT_ID = "/proc/sys/kernel/random/boot_id"
STORE_PAUSE_S = (0.5, 30.0)  # between two tries to store an outcome on a full disk: first, longest


@dataclass(frozen=True, slots=True)
class Running:
    """A runner seen from the agent. `pidfd` becomes readable when it ends (-1: look at the lock now and then).

    `trouble` becomes readable when the runner cannot store its outcome; -1 for a runner of an earlier agent.
    """

    key: str
    pid: int
    pidfd: int
    trouble: int = -1
    child: bool = True

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
            tree.prctl()  # loaded once here instead of in each child
            pid = _fork(deployment, journal)
            if pid == 0:
                _main(deployment, journal, settings, lock, tell, told, refusal)
        except StateError:
            os.close(hear)
            raise
        finally:
            os.close(tell)
    finally:
        lock.release()  # of our copy: the child keeps the lock
    return Running(deployment.key, pid, os.pidfd_open(pid), hear)


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


def cancel(running: Running) -> None:
    """Ask a runner to end its hook, with all that belongs to it. It stores an outcome that nobody will send."""
    if running.pidfd >= 0:
        with suppress(ProcessLookupError):  # it ended by itself
            signal.pidfd_send_signal(running.pidfd, signal.SIGTERM)


def answer(
    deployment: Deployment,
    settings: Settings,
    environ: Mapping[str, str],
    live: Callable[[bytes], object] | None = None,
    *,
    built_in_first: bool = False,
    told: Mapping[str, str] | None = None,
) -> Outcome:
    """What there is to say to a deployment: the outcome of its hook, or why there is none to run."""
    hook = hook_of(deployment, settings, environ, built_in_first=built_in_first)
    if isinstance(hook, Outcome):
        return hook
    place = workplace.workplace(deployment, hooks.clean(deployment.group), settings, environ, live)
    place = replace(place, told=told or {})
    if live and (line := unknown_options(deployment, hook)):
        live(f"{line}\n".encode("utf-8", "replace"))
    if deployment.manner.run_as:
        try:
            somebody = user.look_up(deployment.manner.run_as)
        except LookupError as exc:
            return reading.data_fault(deployment, exc)
        place = workplace.for_user(place, somebody) if somebody else place
    if progress.VARIABLE in place.told:
        place = progress.offer(place)
    return hook.run(deployment, place)


def hook_of(
    deployment: Deployment, settings: Settings, environ: Mapping[str, str], *, built_in_first: bool = False
) -> hooks.Hook | Outcome:
    """The hook that is to run a deployment, or the outcome that says why none may."""
    if deployment.fault:
        return Outcome(model.STATUS_DATA, "", f"deployment '{deployment.name}' cannot be run: {deployment.fault}\n")
    hook = hooks.find(deployment.group, settings, environ, built_in_first=built_in_first)
    if hook is None:
        return Outcome(model.STATUS_NOT_FOUND, "", hooks.missing(deployment.group, settings, environ) + "\n")
    if reason := _not_kept(deployment, hook, settings):
        return reading.data_fault(deployment, reason)
    if deployment.manner.run_as and hook.refuses_user:
        return reading.data_fault(deployment, f"its group does not know run_as, remove it: {hook.refuses_user}")
    return hook


def _not_kept(deployment: Deployment, hook: hooks.Hook, settings: Settings) -> str:
    """Which limit nobody would keep, "" when each one is."""
    manner = deployment.manner
    asked = sorted([*manner.limits, *(["cpu"] if manner.cpu_percent else [])])
    if asked and hook.refuses_limits:
        return f"its group does not know {', '.join(asked)}, remove it: {hook.refuses_limits}"
    if hook.limits_containers or settings.runner == UNIT:
        return ""
    if manner.cpu_percent:
        return "its option cpu is kept by a systemd unit alone; set runner to unit"
    if "tasks" in manner.limits and manner.run_as in ("", "0", "root"):
        return "its option tasks needs run_as with another user than root, whom Linux does not limit, or runner=unit"
    return ""


def unknown_options(deployment: Deployment, hook: hooks.Hook) -> str:
    """Which options of a deployment nobody knows, and which ones its group does; "" when all are known."""
    others = deployment.options.keys() - options.COMMON
    known = hook.options() if others else None
    if known is None or not others - known:
        return ""
    names = ", ".join(sorted(others - known))
    return f"unknown option {names}; group {deployment.group} knows {', '.join(sorted(known | options.COMMON))}"


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


def boot_id(settings: Settings) -> str:
    """Which boot of the machine this is, "unknown" when the kernel does not say."""
    for path in (settings.path(BOOT_ID), Path(BOOT_ID)):
        with suppress(OSError):  # below another root there is none
            return path.read_text("ascii", "replace").strip()
    return "unknown"


def reboot(command: list[str]) -> None:
    """Ask for a reboot; the machine goes down some time after. Raises OSError when it will not."""
    process.ask(command, timeout_s=REBOOT_COMMAND_S)


def no_reboot(key: str, journal: Journal, why: str) -> None:
    """Turn a hook's wish for a reboot into its final outcome, which fails and says why."""
    body = {name: value for name, value in journal.outcome(key).items() if name != model.REBOOT_FROM}
    stderr = body.get("deploy_stderr") or ""
    note = f"the hook asked for a reboot (status {model.STATUS_REBOOT}): {why}\n"
    journal.finish(key, {**body, "deploy_stderr": f"{stderr}{note}"})


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


# ------------------------------------------------------------------------------------------- in the child


def _main(
    deployment: Deployment,
    journal: Journal,
    settings: Settings,
    lock: Lock,
    tell: int,
    told: dict[str, str],
    refusal: str,
) -> NoReturn:
    status = 70
    try:
        # a fault is answered here: a unit reads the deployment as it came, and knows none that was found since
        if settings.runner == UNIT and not (refusal or deployment.fault):
            detach(2, lock.fileno(), tell)
            _hand_over(deployment, journal, settings, lock, tell, told)
        else:
            detach(lock.fileno(), tell)
            live = _live(deployment, settings, units.journal_fields(deployment))
            lock.note({"pid": os.getpid(), "deployment": deployment.id, "started_at": time.time()})
            _conduct(deployment, journal, settings, tell, live, told, refusal)
        status = 0
    except Exception:  # noqa: BLE001 - the last frame of this process: a traceback in the log, and "interrupted"
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _live(
    deployment: Deployment, settings: Settings, fields: Mapping[str, str], *, keep_stderr: bool = False
) -> LiveLog:
    told = journald(settings.path(JOURNALD), fields)
    path = settings.path(settings.log_dir) / f"{deployment.key}.log"
    return LiveLog(path, settings.output_limit, told, streams=(1,) if keep_stderr else (1, 2))


def detach(*kept: int) -> None:
    """In a forked child: a session and signals of its own (SIGTERM raises Interrupted), no descriptor but `kept`."""
    signal.set_wakeup_fd(-1)
    os.setsid()
    process.only_descriptors(*kept)
    # not SIGPIPE: an agent that is gone hears no complaint, and the outcome must outlive that
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, interrupt)


def _hand_over(
    deployment: Deployment, journal: Journal, settings: Settings, lock: Lock, tell: int, told: Mapping[str, str]
) -> None:
    """Let systemd start the runner. Where it certainly did not, that is the outcome."""
    from agent import handover  # noqa: PLC0415 - for this process alone

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # whoever cancels means the runner, and finds it in a moment
    lock.note({"deployment": deployment.id})  # a pid in it is the runner's
    try:
        reason = handover.start(deployment, told, settings, lock.fileno(), tell)
    except Unavailable as exc:
        log.error("nobody says whether the unit was started, the lock will tell", reason=str(exc))
        return
    if reason and "pid" in state.holder_of(journal.lock_path(deployment.key)):
        log.error("the unit failed, its runner lived", deployment=deployment.id, reason=reason)
    elif reason:
        why = f"the unit for '{deployment.name}' was not started: {reason}; mend that, or see the setting runner\n"
        body = Outcome(model.STATUS_REFUSED, "", why).body()
        _store(deployment.key, body, journal, settings.signal_patience, tell)


def in_unit() -> NoReturn:
    """The runner as systemd starts it; stdin is the lock, stdout the agent's ear."""
    from agent import handover  # noqa: PLC0415 - as above

    taken = handover.take()
    settings, deployment = taken.settings, handover.from_json(taken.work["deployment"])
    signal.signal(signal.SIGTERM, interrupt)
    journal = Journal(Places(settings.path(settings.state_dir), settings.path(settings.deployed_dir)))
    live = _live(deployment, settings, {}, keep_stderr=True)  # the unit itself has the journal's fields
    Lock(journal.lock_path(deployment.key), taken.stdin).note(
        {"pid": os.getpid(), "deployment": deployment.id, "started_at": time.time()}
    )
    notify.notifier(os.environ).ready("the hook is running")
    for limit in units.unenforced(units.wanted_limits(deployment), Path("/proc/self/cgroup").read_text("utf-8")):
        live.write(f"limit {limit} is not kept: this machine does not own its controller\n".encode())
        log.warning("limit not kept, this machine does not own its controller", deployment=deployment.id, limit=limit)
    began = time.monotonic()
    status = _conduct(deployment, journal, settings, taken.stdout, live, taken.work["told"])
    log.info("hook ended", deployment=deployment.id, status=status, seconds=round(time.monotonic() - began, 1))
    os._exit(0)  # nobody waits for what a hook has left in this process


def _conduct(
    deployment: Deployment,
    journal: Journal,
    settings: Settings,
    tell: int,
    live: LiveLog,
    told: Mapping[str, str],
    refusal: str = "",
) -> int:
    """Have the hook run and store what comes of it; its status."""
    try:
        outcome = (
            Outcome(model.STATUS_REFUSED, "", f"{refusal}\n")
            if refusal
            else answer(deployment, settings, os.environ, live.write, told=told)
        )
    except process.Interrupted:
        if deployment.manner.rerun:  # without an outcome it counts as interrupted, also when the machine goes down
            os._exit(0)
        why = "interrupted: its runner was told to end: the id left the metadata, or somebody sent it SIGTERM\n"
        outcome = Outcome(model.STATUS_INTERRUPTED, "", why)
    live.end()
    _store(deployment.key, _body(outcome, settings), journal, settings.signal_patience, tell)
    return outcome.status


def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise process.Interrupted


def _body(outcome: Outcome, settings: Settings) -> JsonMap:
    if outcome.status == model.STATUS_REBOOT:
        return {**outcome.body(), model.REBOOT_FROM: boot_id(settings)}
    return outcome.body()


def _store(key: str, body: JsonMap, journal: Journal, patience_s: float, tell: int) -> None:
    """Store the outcome, as often as it takes: it exists nowhere else."""
    pause, longest = STORE_PAUSE_S
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return journal.finish(key, body)
        except StateError as exc:
            if time.monotonic() >= deadline:
                raise
            with suppress(OSError):  # the agent that started us is gone
                os.write(tell, f"{exc}\n".encode())
            log.error("outcome cannot be stored yet", deployment=key, reason=str(exc))
        time.sleep(pause)
        pause = min(pause * 2, longest)
