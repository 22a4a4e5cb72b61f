"""Section services: enabled or not, running or not, restarted when something they name has changed.

systemd is asked by D-Bus, so that what came of a job is known; without a bus, and other inits, by their programs.
"""

from __future__ import annotations

from collections.abc import Iterable

from agent.apply.cfn_model import Changes, Service, to_be_restarted
from agent.apply.cfn_programs import QUESTION_S, Tell, ask, has, must
from agent.systemd import jobs

_UNITS = (".service", ".socket", ".timer", ".target", ".path", ".mount", ".slice", ".automount", ".swap")


def settle(services: Iterable[Service], changes: Changes, tell: Tell) -> None:
    """Make the services what they shall be. Raises ApplyError where that fails."""
    for service in services:
        if service.enabled is not None:
            _enable(service.name, on=service.enabled)
            tell(f"service {service.name} {'enabled' if service.enabled else 'disabled'}")
        if service.running is not False and to_be_restarted(service, changes):
            _do("restart", service.name)
            tell(f"service {service.name} restarted, as something it names has changed")
        elif service.running is not None:
            _run_or_stop(service, tell)


def revive(services: Iterable[Service], tell: Tell) -> tuple[str, ...]:
    """Start what shall run and does not; the names of what was started."""
    dead = [service.name for service in services if service.running and not _runs(service.name)]
    for name in dead:
        _do("start", name)
        tell(f"service {name} was not running, started")
    return tuple(dead)


def enabling(name: str, *, on: bool) -> list[str]:
    """The command line that enables or disables a service on this guest."""
    if has("systemctl"):
        return ["systemctl", "enable" if on else "disable", unit(name)]
    if has("chkconfig"):
        return ["chkconfig", name, "on" if on else "off"]
    return ["update-rc.d", name, "enable" if on else "disable"]


def acting(verb: str, name: str) -> list[str]:
    return ["systemctl", verb, unit(name)] if has("systemctl") else ["service", name, verb]


def unit(name: str) -> str:
    return name if name.endswith(_UNITS) else f"{name}.service"


def _run_or_stop(service: Service, tell: Tell) -> None:
    runs = _runs(service.name)
    if runs is service.running:
        tell(f"service {service.name} {'runs' if runs else 'does not run'}, as it shall")
        return
    _do("start" if service.running else "stop", service.name)
    tell(f"service {service.name} {'started' if service.running else 'stopped'}")


def _runs(name: str) -> bool:
    known = jobs.runs(unit(name))
    return ask(acting("status", name)).status == 0 if known is None else known


def _enable(name: str, *, on: bool) -> None:
    if not jobs.enabled(unit(name), on=on):
        must(enabling(name, on=on), f"enabling or disabling service {name}")


def _do(verb: str, name: str) -> None:
    if not jobs.run(verb, unit(name), timeout_s=QUESTION_S):
        must(acting(verb, name), f"{verb} of service {name}")
