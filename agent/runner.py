"""One deployment in a process of its own, as that process does it: hook, outcome.

It is a forked child in its own session: an agent that stops or dies leaves it alone, and it stores its outcome all the
same. With the setting runner=unit the child hands lock and deployment to a systemd unit (handover.py), whose program is
`in_unit` below; everything else is the same. How the agent begins and watches runners is in dispatch.py.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import NoReturn

from agent import hooks, log, masking, model, options, process, progress, state
from agent.errors import StateError, Unavailable
from agent.hooks import reading, user, workplace
from agent.journal import Journal
from agent.live import JOURNALD, LiveLog, journald
from agent.model import Deployment, JsonMap, Outcome
from agent.settings import UNIT, Settings
from agent.state import Lock, Places
from agent.systemd import notify, units

BOOT_ID = "/proc/sys/kernel/random/boot_id"
LET_GO_S = 10.0
STORE_PAUSE_S = (0.5, 30.0)  # between two tries to store an outcome on a full disk: first, longest


def main(
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
    if hook := hooks.find(deployment.group, settings, os.environ):
        hook.load()  # an agent that is stopped to have its files exchanged waits until we are ready
    notify.notifier(os.environ).ready("the hook is running")
    for limit in units.unenforced(units.wanted_limits(deployment), Path("/proc/self/cgroup").read_text("utf-8")):
        live.write(f"limit {limit} is not kept: this machine does not own its controller\n".encode())
        log.warning("limit not kept, this machine does not own its controller", deployment=deployment.id, limit=limit)
    began = time.monotonic()
    status = _conduct(deployment, journal, settings, taken.stdout, live, taken.work["told"])
    log.info("hook ended", deployment=deployment.id, status=status, seconds=round(time.monotonic() - began, 1))
    os._exit(0)  # nobody waits for what a hook has left in this process


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


def detach(*kept: int) -> None:
    """In a forked child: a session and signals of its own (SIGTERM raises Interrupted), no descriptor but `kept`."""
    signal.set_wakeup_fd(-1)
    os.setsid()
    process.only_descriptors(*kept)
    # not SIGPIPE: an agent that is gone hears no complaint, and the outcome must outlive that
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGCHLD, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, interrupt)


def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
    raise process.Interrupted


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
    if reason and not _taken_back(lock):
        log.error("the unit failed, its runner lived", deployment=deployment.id, reason=reason)
    elif reason:
        why = f"the unit for '{deployment.name}' was not started: {reason}; mend that, or see the setting runner\n"
        body = Outcome(model.STATUS_REFUSED, "", why).body()
        _store(deployment.key, body, journal, settings.signal_patience, tell)


def _taken_back(lock: Lock) -> bool:
    """Whether no runner has come of a unit that failed, and none will: nobody but us has the lock.

    systemd tells of the failure before the process has ended, and before it has closed what it was given.
    """
    lock.release()
    deadline = time.monotonic() + LET_GO_S
    while "pid" not in state.holder_of(lock.path):
        if state.try_lock(lock.path):  # ours until this process ends
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.1)
    return False


def _live(
    deployment: Deployment, settings: Settings, fields: Mapping[str, str], *, keep_stderr: bool = False
) -> LiveLog:
    told = journald(settings.path(JOURNALD), fields)
    path = settings.path(settings.log_dir) / f"{deployment.key}.log"
    streams, secrets = (1,) if keep_stderr else (1, 2), masking.secrets(deployment.raw)
    return LiveLog(path, settings.output_limit, told, streams=streams, secrets=secrets)


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
    _store(deployment.key, _body(outcome, deployment, settings), journal, settings.signal_patience, tell)
    return outcome.status


def _body(outcome: Outcome, deployment: Deployment, settings: Settings) -> JsonMap:
    """What is stored: what is signalled, and where that holds secrets of the inputs what people are shown of it."""
    body, veil = outcome.body(), masking.Veil(masking.secrets(deployment.raw))
    texts = {name: value for name, value in body.items() if isinstance(value, str)}
    masked: JsonMap = {name: veiled for name, text in texts.items() if (veiled := veil.text(text)) != text}
    reboot: JsonMap = {model.REBOOT_FROM: boot_id(settings)} if outcome.status == model.STATUS_REBOOT else {}
    return {**body, **reboot, **({model.MASKED: masked} if masked else {})}


def boot_id(settings: Settings) -> str:
    """Which boot of the machine this is, "unknown" when the kernel does not say."""
    for path in (settings.path(BOOT_ID), Path(BOOT_ID)):
        with suppress(OSError):  # below another root there is none
            return path.read_text("ascii", "replace").strip()
    return "unknown"


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
