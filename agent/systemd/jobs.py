"""Jobs of this guest's units by D-Bus, and what came of them in words. Where there is no bus, nobody is asked.

Everything raises ApplyError where systemd says no, or nothing in time.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from agent.errors import ApplyError, Refused, Unavailable
from agent.systemd.units import LIBRARIES

if TYPE_CHECKING:
    from agent.systemd.bus import Manager

T = TypeVar("T")

BOOTED = Path("/run/systemd/system")  # sd_booted(3)
RUNS = ("active", "reloading")


def run(verb: str, unit: str, *, timeout_s: float) -> bool:
    """Run a job of a unit to its end, which has to be a good one; False when there is no bus to ask.

    `verb` is a job's in systemctl(1): start, stop, restart, try-restart, reload-or-try-restart.
    """

    def to_its_end(manager: Manager) -> bool:
        result = manager.act(verb, unit, timeout_s=timeout_s)
        if result != "done":
            raise ApplyError(
                f"{verb} of {unit}: systemd's job ended with {result}{manager.why(unit)}; see journalctl --unit {unit}"
            )
        return True

    return _ask(to_its_end) is not None


def runs(unit: str) -> bool | None:
    """Whether a unit runs; None when there is no bus to ask."""
    return _ask(lambda manager: manager.state(unit).active in RUNS)


def enabled(unit: str, *, on: bool) -> bool:
    """Enable or disable a unit; False when that is not for D-Bus: there is none, or it is a script of SysV init."""

    def set_it(manager: Manager) -> bool:
        try:
            (manager.enable if on else manager.disable)(unit)
        except Refused:  # systemctl knows what to do with a script, or has the better words
            return False
        return True

    return _ask(set_it) is True


def _ask(question: Callable[[Manager], T]) -> T | None:
    """What systemd says, None when there is no bus."""
    if not BOOTED.is_dir() or not any(map(find_spec, LIBRARIES)):
        return None
    from agent.systemd import bus  # noqa: PLC0415 - heavy, and for guests that have one

    try:
        with bus.connected() as manager:
            return question(manager)
    except Unavailable as exc:
        if exc.sent:
            raise ApplyError(str(exc)) from exc
        return None
    except Refused as exc:
        raise ApplyError(str(exc)) from exc
