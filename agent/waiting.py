"""What the loop waits for in between: runners, signals, a push, or a time. One selector."""

from __future__ import annotations

import os
import select
import selectors
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from agent import log
from agent.engine import Engine
from agent.errors import StateError
from agent.subscription import Subscription
from agent.systemd.notify import Notifier

LOOK_S = 1.0  # how often the lock of a runner without a pidfd is looked at


@dataclass(slots=True)
class Told:
    """What signals have asked for since the loop last looked."""

    stop: bool = False
    reload: bool = False


@contextmanager
def signals() -> Iterator[tuple[Told, int]]:
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


def wait(
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
    for what, key in happened:
        if what == "stuck" and key not in ended:
            _stuck(engine, key, fatal=stuck_is_fatal)
    for key in {*ended, *blind}:
        engine.ended(key)
    if ("refreshed", "") in happened:
        engine.refreshed()
    return bool(subscription and ("pushed", "zaqar") in happened and subscription.take(time.time()))


def sleep_until_told(told: Told, wakeup: int, manager: Notifier) -> None:
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
