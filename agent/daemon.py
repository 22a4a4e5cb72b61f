"""The loop: when to poll, and what to do in between. One thread.

`agent run` loops until SIGTERM; `agent --once` is the same loop, left as soon as nothing is running or unsent.
"""

from __future__ import annotations

import gc
import random
import time
from dataclasses import dataclass, field

from agent import bulletin, instance, log, masking, model, waiting
from agent.bulletin import Board
from agent.engine import Engine
from agent.errors import SettingsError, StateError, Unidentified
from agent.pace import Jitter, Pace, bounds
from agent.settings import Settings
from agent.subscription import Subscription
from agent.systemd.notify import Notifier
from agent.waiting import Told

CLOUD_INIT_PAUSE_S = 1.0  # between two looks whether cloud-init has ended
UNIDENTIFIED_PAUSE_S = 0.2  # between two looks whether cloud-init has said which machine this is
STATE_PAUSE_S = 10.0  # between two tries when our own disk fails
STATUS_LIMIT = 300  # characters of the line for people
NO_SOURCE = (
    "collecting: no source is configured, and cloud-init has left none; name one by a flag such as"
    " --request-metadata-url URL (all: agent --help), or in /etc/os-collect-config.conf"
)
BOOT_S = 300.0  # for so long after the start cloud-init's files are looked for at the shortest pause


def once(engine: Engine) -> int:
    """Do what is due and tell the endpoint; the exit status says how that went."""
    with waiting.signals() as (told, wakeup):
        _open_once_known(engine, told, wakeup)
        board = Board(engine.journal.places, "agent --once")
        deadline = time.time() + engine.settings.once_patience
        engine.cycle()
        gc.freeze()  # see _poll
        while not told.stop:
            _post(engine, board)
            if engine.idle and (not engine.unsent() or time.time() >= deadline):
                break
            due = min(engine.next_due(), deadline) if engine.idle else float("inf")
            waiting.wait(engine, wakeup, due, stuck_is_fatal=True)
            if engine.idle and engine.unsent() and time.time() >= engine.next_due():
                engine.cycle()
        engine.stop_all()
    if not engine.metadata.named and not told.stop:
        raise SettingsError(NO_SOURCE)
    return engine.exit_status()


def _open_once_known(engine: Engine, told: Told, wakeup: int) -> None:
    """Open the state as soon as it is known whose it is; the engine bounds how long that may take."""
    while True:
        try:
            engine.open()
            return
        except Unidentified:
            if told.stop:
                raise
            waiting.wait(engine, wakeup, time.time() + UNIDENTIFIED_PAUSE_S)


@dataclass(slots=True)
class _Loop:
    """What the daemon remembers from one turn to the next. Times are seconds since the epoch."""

    started_at: float
    open_at: float
    poll_at: float
    opened: bool = False
    paces: dict[str, Pace] = field(default_factory=dict)
    subscription: Subscription = field(default_factory=Subscription)


def run(engine: Engine, *, jitter: Jitter = random.uniform, manager: Notifier | None = None) -> int:
    """Poll until SIGTERM or SIGINT; SIGHUP reads the settings again and polls at once."""
    manager = manager or Notifier()
    now = time.time()
    loop = _Loop(started_at=now, open_at=now, poll_at=now + jitter(0.0, engine.settings.splay))
    with waiting.signals() as (told, wakeup):
        board = Board(engine.journal.places, "agent run")
        while not told.stop:
            if told.reload:
                told.reload = False
                _reload(engine, loop, manager)
            try:
                _turn(engine, loop, manager, board, jitter)
                if engine.settings.poll_until_success and engine.all_succeeded():
                    log.info("all deployments succeeded, polling stops", until="SIGHUP or a restart")
                    waiting.sleep_until_told(told, wakeup, manager)
                elif waiting.wait(engine, wakeup, _next(engine, loop), loop.subscription, manager):
                    loop.paces["zaqar"] = Pace()
            except Unidentified as exc:
                log.debug("not opened yet", reason=str(exc))
                manager.ready(str(exc))
                loop.open_at = time.time() + UNIDENTIFIED_PAUSE_S
                waiting.wait(engine, wakeup, loop.open_at)
            except StateError as exc:
                log.error("state cannot be kept, no deployment is begun", reason=str(exc))
                manager.ready(f"no deployment is begun: {exc}")
                loop.open_at = loop.poll_at = time.time() + STATE_PAUSE_S
        manager.stopping(f"stopping; {len(engine.running)} deployments that run go on")
        log.info("stopped", running=len(engine.running))
        engine.stop_all()
        loop.subscription.close()
    return 0


def _turn(engine: Engine, loop: _Loop, manager: Notifier, board: Board, jitter: Jitter) -> None:
    """Look at our own state once, then at the sources that are due; say how things stand."""
    manager.alive()
    now = time.time()
    if not loop.opened and _waits_for_cloud_init(engine.settings, loop, now):
        manager.ready("waiting for cloud-init to end")
        loop.open_at = now + CLOUD_INIT_PAUSE_S
    elif not loop.opened and now >= loop.open_at:
        engine.open()
        loop.opened = True
        manager.allow(max(engine.settings.total_timeout, engine.settings.kill_grace))
        manager.ready(summary(engine))
    if loop.opened and now >= loop.poll_at:
        _poll(engine, loop.paces, now, jitter)
        _post(engine, board)
        if loop.subscription.tend(engine.settings, engine.metadata.connection("zaqar").tokens, now):
            loop.paces["zaqar"] = Pace()
        manager.status(summary(engine))


def _waits_for_cloud_init(settings: Settings, loop: _Loop, now: float) -> bool:
    left_s = loop.started_at + settings.cloud_init_patience - now
    if left_s <= 0 or not instance.cloud_init_runs(settings):
        return False
    if loop.open_at == loop.started_at:
        log.info("waits for cloud-init to end", seconds=round(left_s))
    return True


def _reload(engine: Engine, loop: _Loop, manager: Notifier) -> None:
    manager.reloading()
    engine.metadata.reload()
    loop.paces.clear()
    manager.allow(max(engine.settings.total_timeout, engine.settings.kill_grace))
    manager.ready(summary(engine))


def summary(engine: Engine) -> str:
    """One line for people: what is being done, or else what is waited for."""
    journal, sources = engine.journal, engine.metadata.named
    names = sorted(str(journal.record(key).get("name", key)) for key in engine.running)
    waiting = [entry.id for entry in journal.entries().values() if entry.progress == model.REBOOTING]
    if names:
        line = f"running {', '.join(names)}"
    elif waiting:
        line = f"waiting for the reboot that {', '.join(waiting)} asked for"
    elif unsent := engine.unsent():
        line = f"{len(unsent)} outcomes not taken yet: {unsent[0].reason or 'just finished'}"
    elif not sources:
        files = ", ".join(str(engine.settings.path(name)) for name in engine.settings.heat_local_path)
        line = f"waiting for metadata: no source is configured, and cloud-init has not written {files}"
    elif faults := engine.metadata.faults:
        line = "; ".join(f"source {name} is unavailable: {why}" for name, why in faults.items())
    else:
        line = f"watching {', '.join(sources)}; {len(engine.failed)} deployments failed since the start"
    return masking.text(" ".join(line.split()))[:STATUS_LIMIT]


def _poll(engine: Engine, paces: dict[str, Pace], now: float, jitter: Jitter) -> None:
    """Ask the sources that are due, and look again at what is held or unsent."""
    first, sources = not paces, engine.metadata.names()
    due = [name for name in sources if paces.setdefault(name, Pace()).due <= now]
    if not due and engine.next_due() > now:
        return
    if not due:  # an outcome or a held group is due between two polls: a repeat looks at the document first
        due = list(sources)
    answers = engine.cycle(due)
    if first:  # what is loaded by now stays: looking through it for garbage would copy it from each runner
        gc.freeze()
    for name, answer in answers.items():
        paces.setdefault(name, Pace()).plan_next(answer, time.time(), bounds(name, engine.settings), jitter)


def _post(engine: Engine, board: Board) -> None:
    """Tell readers of the state how the sources answer and what is held."""
    metadata, phases = engine.metadata, engine.refresh.phases
    faults = {name: metadata.faults.get(name, "") for name in metadata.named}
    held = {key: until for key, until in engine.holding.items() if until < float("inf")}  # JSON knows no infinity
    waiting = "" if phases.settled else phases.reason or bulletin.PHASES_RUN
    board.post(faults, held, waiting, metadata.certificates())
    if engine.settings.metrics_file:
        from agent.view import metrics_file  # noqa: PLC0415 - off unless somebody wants it

        metrics_file.post(engine.settings, time.time())


def _next(engine: Engine, loop: _Loop) -> float:
    """When a source is due, or something of our own; while there is no source, when to look for one again."""
    known = [loop.paces[name].due for name in engine.metadata.named if name in loop.paces]
    now, settings = time.time(), engine.settings
    pause_s = settings.min_polling_interval if now < loop.started_at + BOOT_S else settings.polling_interval
    return max(min([*(known or [now + pause_s]), engine.next_due()]), loop.poll_at if loop.opened else loop.open_at)
