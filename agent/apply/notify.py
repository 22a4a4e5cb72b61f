"""Units that want to know of changed files: told once, when all files are in their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent import process
from agent.errors import ApplyError
from agent.systemd import jobs

LONGEST_S = 120.0
PROGRAMS_WORD = {"reload-or-try-restart": "try-reload-or-restart"}  # systemctl's for the same job


@dataclass(frozen=True, slots=True)
class Units:
    """Names of units: those to reload and those to restart, each in order."""

    reload: tuple[str, ...] = ()
    restart: tuple[str, ...] = ()

    def __add__(self, other: Units) -> Units:
        return Units(
            tuple(dict.fromkeys(self.reload + other.reload)), tuple(dict.fromkeys(self.restart + other.restart))
        )

    def __bool__(self) -> bool:
        return bool(self.reload or self.restart)


class Services(Protocol):
    """What starts and ends units. Both raise ApplyError for a unit that did not take it."""

    def reload(self, units: Sequence[str]) -> None:
        """Reload what runs of these, restart what runs and cannot reload; what does not run stays so."""

    def restart(self, units: Sequence[str]) -> None:
        """Restart what runs of these; what does not run stays so."""


class Systemd:
    """The services of this guest: by D-Bus, which says what came of it, else by the program systemctl."""

    def reload(self, units: Sequence[str]) -> None:
        _call("reload-or-try-restart", units)

    def restart(self, units: Sequence[str]) -> None:
        _call("try-restart", units)


def tell(services: Services, units: Units) -> None:
    """Each unit once: one that is to be restarted is not reloaded before."""
    if units.restart:
        services.restart(units.restart)
    left = [unit for unit in units.reload if unit not in units.restart]
    if left:
        services.reload(left)


def _call(verb: str, units: Sequence[str]) -> None:
    faults, left = [], []
    for unit in units:
        try:
            if not jobs.run(verb, unit, timeout_s=LONGEST_S):
                left.append(unit)
        except ApplyError as exc:
            faults.append(str(exc))
    try:
        if left:
            process.ask(["systemctl", PROGRAMS_WORD.get(verb, verb), "--", *left], timeout_s=LONGEST_S)
    except OSError as exc:
        faults.append(f"systemctl: {exc.strerror}")
    if faults:
        doing = f"telling {', '.join(units)} of changed files"
        raise ApplyError(f"{doing}: {'; '.join(faults)}; the files are placed, the next run tells again")
