"""The loop: when to poll, and what to wait for in between. One thread, one selector.

`agent run` loops until SIGTERM; `agent --once` is the same loop, left as soon as nothing is running or unsent.
"""

from __future__ import annotations

import os
import random
import select
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType

from agent import bulletin, instance, log, masking, model
from agent.bulletin import Board
from agent.engine import Engine
from agent.errors import Refused, SettingsError, StateError, Unidentified
from agent.metadata import Answer
from agent.settings import Settings
from agent.subscription import Subscription
from agent.systemd.notify import Notifier

REFUSED_SLOWER = 10.0  # times the longest pause, for a source that refuses
LOOK_S = 1.0  # how often the lock of a runner without a pidfd is looked at
CLOUD_INIT_PAUSE_S = 1.0  # between two looks whether cloud-init has ended
UNIDENTIFIED_PAUSE_S = 0.2  # between two looks whether cloud-init has said which machine this is
STATE_PAUSE_S = 10.0  # between two tries when our own disk fails
STATUS_LIMIT = 300  # characters of the line for people
NO_SOURCE = (
    "collecting: no source is configured, and cloud-init has left none; name one by a flag such as"
    " --request-metadata-url URL (all: agent --help), or in /etc/os-collect-config.conf"
)
BOOT_S = 300.0  # for so long after the start cloud-init's files are looked for at the shortest pause


@dataclass(slots=True)
class Pace:
    """When one source is asked next: the minimum after any change, then pauses that double up to the maximum.

    Each wait is drawn from the upper half of its pause, so that guests which were started together drift apart.
    """

    pause_s: float = 0.0
    due: float = 0.0

    def plan_next(self, answer: Answer, now: float, bounds: tuple[float, float], jitter: Jitter) -> None:
        shortest, longest = bounds
        if isinstance(answer.fault, Refused):  # it understood us and said no: no hurry to hear that again
            longest *= REFUSED_SLOWER
        self.pause_s = shortest if answer.changed else min(max(self.pause_s * 2, shortest), longest)
        asked_s = getattr(answer.fault, "retry_after_s", 0.0)  # by a server that asks everybody: no two come together
        self.due = now + (asked_s + jitter(0.0, self.pause_s) if asked_s else jitter(self.pause_s / 2, self.pause_s))


Jitter = Callable[[float, float], float]


@dataclass(slots=True)
class Told:
    """What signals have asked for since the loop last looked."""

    stop: bool = False
    reload: bool = False


def once(engine: Engine) -> int:
    """Do what is due and tell the endpoint; the exit status says how that went."""
    with _signals() as (told, wakeup):
        _open_once_known(engine, told, wakeup)
        board = Board(engine.journal.places, "agent --once")
        deadline = time.time() + engine.settings.once_patience
        engine.cycle()
        while not told.stop:
            _post(engine, board)
            if engine.idle and (not engine.unsent() or time.time() >= deadline):
                break
            due = min(engine.next_due(), deadline) if engine.idle else float("inf")
            _wait(engine, wakeup, due, stuck_is_fatal=True)
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
            _wait(engine, wakeup, time.time() + UNIDENTIFIED_PAUSE_S)


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
    with _signals() as (told, wakeup):
        board = Board(engine.journal.places, "agent run")
        while not told.stop:
            if told.reload:
                told.reload = False
                _reload(engine, loop, manager)
            try:
                _turn(engine, loop, manager, board, jitter)
                if engine.settings.poll_until_success and engine.all_succeeded():
                    log.info("all deployments succeeded, polling stops", until="SIGHUP or a restart")
                    _sleep_until_told(told, wakeup, manager)
                elif _wait(engine, wakeup, _next(engine, loop), loop.subscription, manager):
                    loop.paces["zaqar"] = Pace()
            except Unidentified as exc:
                log.debug("not opened yet", reason=str(exc))
                manager.ready(str(exc))
                loop.open_at = time.time() + UNIDENTIFIED_PAUSE_S
                _wait(engine, wakeup, loop.open_at)
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
    sources = engine.metadata.names()
    due = [name for name in sources if paces.setdefault(name, Pace()).due <= now]
    if not due and engine.next_due() > now:
        return
    if not due:  # an outcome or a held group is due between two polls: a repeat looks at the document first
        due = list(sources)
    for name, answer in engine.cycle(due).items():
        paces.setdefault(name, Pace()).plan_next(answer, time.time(), _bounds(name, engine.settings), jitter)


def _post(engine: Engine, board: Board) -> None:
    """Tell readers of the state how the sources answer and what is held."""
    metadata, phases = engine.metadata, engine.refresh.phases
    faults = {name: metadata.faults.get(name, "") for name in metadata.named}
    held = {key: until for key, until in engine.holding.items() if until < float("inf")}  # JSON knows no infinity
    board.post(faults, held, "" if phases.settled else phases.reason or bulletin.PHASES_RUN)
    if engine.settings.metrics_file:
        from agent.view import metrics_file  # noqa: PLC0415 - off unless somebody wants it

        metrics_file.post(engine.settings, time.time())


def _bounds(name: str, settings: Settings) -> tuple[float, float]:
    """Shortest and longest pause of a source. CFN has its own: each poll costs the cloud a sign-in."""
    if name == "cfn":
        return settings.cfn_min_polling_interval, max(settings.cfn_polling_interval, settings.cfn_min_polling_interval)
    if name in ("ec2", "config_drive"):  # neither changes often, and the tree is a request per leaf
        return settings.ec2_polling_interval, settings.ec2_polling_interval
    return settings.min_polling_interval, max(settings.polling_interval, settings.min_polling_interval)


def _next(engine: Engine, loop: _Loop) -> float:
    """When a source is due, or something of our own; while there is no source, when to look for one again."""
    known = [loop.paces[name].due for name in engine.metadata.named if name in loop.paces]
    now, settings = time.time(), engine.settings
    pause_s = settings.min_polling_interval if now < loop.started_at + BOOT_S else settings.polling_interval
    return max(min([*(known or [now + pause_s]), engine.next_due()]), loop.poll_at if loop.opened else loop.open_at)


def _wait(
    engine: Engine,
    wakeup: int,
    until: float,
    subscription: Subscription | None = None,
    manager: Notifier | None = None,
    *,
    stuck_is_fatal: bool = False,
) -> bool:
    """Wait for a runner, a signal, a push or the time `until`, and take what runners have left; True after a push."""
    with selectors.DefaultSelector() as selector:
        selector.register(wakeup, selectors.EVENT_READ)
        blind = []
        for key, running in engine.running.items():
            if running.pidfd >= 0:
                selector.register(running.pidfd, selectors.EVENT_READ, ("ended", key))
            else:
                blind.append(key)
            if running.trouble >= 0:
                selector.register(running.trouble, selectors.EVENT_READ, ("stuck", key))
        for fd in engine.refresh.descriptors():
            selector.register(fd, selectors.EVENT_READ, ("refreshed", ""))
        if subscription and subscription.fileno() >= 0:
            selector.register(subscription, selectors.EVENT_READ, ("pushed", "zaqar"))
        left = max(until - time.time(), 0.0)
        left = manager.longest_wait(left) if manager else left
        ready = selector.select(min(left, LOOK_S) if blind else None if left == float("inf") else left)
        happened = [selected.data for selected, _ in ready if selected.data]
        if any(not selected.data for selected, _ in ready):
            os.read(wakeup, 4096)
    ended = {key for what, key in happened if what == "ended"}
    ended |= {key for key in blind if not engine.journal.running(key)}
    for what, key in happened:
        if what == "stuck" and key not in ended:
            _stuck(engine, key, fatal=stuck_is_fatal)
    for key in ended:
        engine.ended(key)
    if ("refreshed", "") in happened:
        engine.refreshed()
    return bool(subscription and ("pushed", "zaqar") in happened and subscription.take(time.time()))


def _sleep_until_told(told: Told, wakeup: int, manager: Notifier) -> None:
    """Nothing runs and nothing is wanted of the cloud: wait for a signal; only a watchdog wakes us in between."""
    longest_s = manager.longest_wait(float("inf"))
    while not (told.stop or told.reload):
        manager.alive()
        if select.select([wakeup], [], [], None if longest_s == float("inf") else longest_s)[0]:
            os.read(wakeup, 4096)


def _stuck(engine: Engine, key: str, *, fatal: bool) -> None:
    """A runner cannot store its outcome; it keeps it in memory and tries until there is room."""
    running = engine.running[key]
    reason = os.read(running.trouble, 4096).decode("utf-8", "replace").strip()
    if not reason:  # closed: it is ending, and its pidfd alone says when it has; watching on would spin until then
        engine.running[key] = running.untroubled()
        return
    if fatal:
        raise StateError(f"{reason}; the outcome of {key} is held by process {running.pid} until there is room")
    log.error("outcome cannot be stored yet", deployment=key, pid=running.pid, reason=reason)


@contextmanager
def _signals() -> Iterator[tuple[Told, int]]:
    """SIGTERM, SIGINT and SIGHUP set a flag and make the given descriptor readable."""
    told = Told()

    def stop(_number: int, _frame: FrameType | None) -> None:
        told.stop = True

    def reload(_number: int, _frame: FrameType | None) -> None:
        told.reload = True

    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop, signal.SIGHUP: reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield told, read
    finally:
        signal.set_wakeup_fd(woken)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
