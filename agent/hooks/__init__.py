"""What executes a group. A hook is a module with `run(deployment, place) -> Outcome`, or a program in a hook directory.

A program that an operator put into a hook directory wins over the built-in hook of the same group.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from agent import parse
from agent.hooks import workplace
from agent.hooks.workplace import Workplace
from agent.model import ANSWERED_BY_TEMPLATES, Deployment, Outcome
from agent.settings import Settings

if TYPE_CHECKING:  # the daemon places no file
    from agent.apply.place import Change

HOOKS = {
    "ansible": "agent.hooks.ansible",
    "apply-config": "agent.hooks.apply_config",
    "cfn-init": "agent.hooks.cfn_init",
    "chef": "agent.hooks.chef",
    "docker-cmd": "agent.hooks.docker_cmd",
    "docker-compose": "agent.hooks.docker_compose",
    "files": "agent.hooks.files",
    "hiera": "agent.hooks.hiera",
    "json-file": "agent.hooks.json_file",
    "kubelet": "agent.hooks.kubelet",
    "puppet": "agent.hooks.puppet",
    "salt": "agent.hooks.salt",
    "script": "agent.hooks.script",
    **dict.fromkeys(ANSWERED_BY_TEMPLATES, "agent.hooks.templates"),
}

SYNCED = ("docker-cmd", "docker-compose", "kubelet")
"""Groups that leave something running, which their module cleans up: `sync(listed, place) -> what went wrong`."""
SYNC_S = 300.0


@dataclass(frozen=True, slots=True)
class Hook:
    """Who serves a group: a built-in module, or the program at `path`."""

    group: str
    module: str = "agent.hooks.executable"
    path: Path | None = None

    def load(self) -> None:
        """Have its module in memory, whatever becomes of the file."""
        import_module(self.module)

    @property
    def refuses_user(self) -> str:
        """Why it cannot be run as somebody else, "" when it can."""
        reason: str = import_module(self.module).REFUSES_USER
        return reason

    @property
    def refuses_limits(self) -> str:
        """Why limits would not reach what it starts, "" when they do."""
        reason: str = getattr(import_module(self.module), "REFUSES_LIMITS", "")
        return reason

    @property
    def limits_containers(self) -> bool:
        """Whether it hands all limits to an engine, which keeps them, for root as well."""
        return bool(getattr(import_module(self.module), "LIMITS", None))

    def options(self) -> frozenset[str] | None:
        """The options of its own that it knows; None when only the program itself can tell."""
        known: frozenset[str] | None = getattr(import_module(self.module), "OPTIONS", frozenset())
        return known

    def foresee(self, deployment: Deployment, place: Workplace) -> tuple[Change, ...]:
        """What running it would make of which files, for hooks that place files and nothing else.

        Raises ApplyError or MetadataError where it would fail, Unavailable where only a run can tell.
        """
        foresee = getattr(import_module(self.module), "foresee", None)
        found: tuple[Change, ...] = foresee(deployment, place) if foresee else ()
        return found

    def run(self, deployment: Deployment, place: Workplace) -> Outcome:
        module = import_module(self.module)
        outcome: Outcome = module.run(deployment, place, self.path) if self.path else module.run(deployment, place)
        return outcome


def clean(group: str) -> str:
    """A group as a file name: the old dispatcher kept letters, digits, - and _ only."""
    return "".join(c for c in group if c.isalnum() or c in "-_")


def directories(settings: Settings, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Where programs are looked for, first wins; HEAT_CONFIG_HOOKS comes first and is taken as it is."""
    first = environ.get("HEAT_CONFIG_HOOKS")
    return (*((Path(first),) if first else ()), *(settings.path(name) for name in settings.hook_dirs))


def find(group: str, settings: Settings, environ: Mapping[str, str], *, built_in_first: bool = False) -> Hook | None:
    """The hook of a group, None when there is none.

    `built_in_first` is for `agent hook`, which such a program may itself be a wrapper of.
    """
    name = clean(group)
    if not name:
        return None
    if built_in_first and group in HOOKS:
        return Hook(group, HOOKS[group])
    for directory in directories(settings, environ):
        path = directory / name
        if os.access(path, os.X_OK) and path.is_file():  # the cheap question first
            return Hook(group, path=path)
    return Hook(group, HOOKS[group]) if group in HOOKS else None


def private_files(group: str, key: str, settings: Settings, environ: Mapping[str, str]) -> tuple[Path, ...]:
    """What the built-in hook of a group keeps in its working directory for as long as it runs, and removes itself."""
    names: tuple[str, ...] = getattr(import_module(HOOKS[group]), "PRIVATE", ()) if group in HOOKS else ()
    if not names:
        return ()
    working = workplace.directories(clean(group), settings, environ)[0]
    users = working.parent.glob(f"{glob.escape(working.name)}.*")  # of those that it ran as, see workplace.for_user
    return tuple(directory / name.format(key=key) for directory in (working, *users) for name in names)


def sync(group: str, listed: Sequence[Deployment], settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Bring the guest in line with what is listed, for one of SYNCED; returns what went wrong."""
    place = replace(workplace.workplace(parse.deployment({}), group, settings, environ), timeout_s=SYNC_S)
    problems: list[str] = import_module(HOOKS[group]).sync(listed, place)
    return problems


def missing(group: str, settings: Settings, environ: Mapping[str, str]) -> str:
    """Why a group has no hook, and what would give it one."""
    name = clean(group)
    places = [directory / name for directory in directories(settings, environ)]
    blocked = [str(path) for path in places if name and path.is_file()]
    if blocked:
        return f"the hook {blocked[0]} for group '{group}' is not executable; chmod +x {blocked[0]}"
    return (
        f"no hook for group '{group}' on this guest; install an executable named '{name or '(group)'}' in "
        f"{' or '.join(str(path.parent) for path in places)}, or an image element that brings it "
        f"(heat-config-{name or '<group>'}); built in: {', '.join(sorted(HOOKS))}"
    )
