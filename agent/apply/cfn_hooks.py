"""The hooks of cfn-hup: their files, and which of them a change concerns. Nothing here acts."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent.apply import cfn_metadata
from agent.apply.cfn_api import Resource
from agent.errors import SettingsError
from agent.merge import below
from agent.model import Json

ADD, UPDATE, REMOVE, RESTARTED = "post.add", "post.update", "post.remove", "service.restarted"
KNOWN = (ADD, UPDATE, REMOVE, RESTARTED, "on.command")
PHYSICAL_ID = "PhysicalResourceId"
_WANTED = ("triggers", "path", "action", "runas")


class Absent:
    """No value, which is not null."""


ABSENT = Absent()


@dataclass(frozen=True, slots=True)
class HupHook:
    """One section of a hooks file."""

    name: str
    triggers: tuple[str, ...]
    resource: str
    part: str
    below: tuple[str, ...]
    action: str = field(repr=False)
    runas: str


@dataclass(frozen=True, slots=True)
class Main:
    """The section [main] of cfn-hup.conf."""

    stack: str
    credential_file: str
    url: str = ""
    interval_s: float = 600.0
    umask: int = 0o022
    verbose: bool = False


def read(files: Iterable[Path]) -> tuple[Main, tuple[HupHook, ...]]:
    """All files as one, later ones win, as heat-cfntools reads them. Raises SettingsError naming every fault."""
    parser = configparser.ConfigParser(interpolation=None, strict=False, default_section="\0")
    for path in files:
        try:
            parser.read_string(path.read_text("utf-8"), str(path))
        except (OSError, UnicodeDecodeError, configparser.Error) as exc:
            raise SettingsError(f"reading {path}: {exc}") from exc
    faults: list[str] = []
    main = _main(dict(parser["main"]) if parser.has_section("main") else {}, faults)
    hooks = tuple(_hook(name, dict(parser[name]), faults) for name in parser.sections() if name != "main")
    if not hooks:
        faults.append("there is no hook; add one in hooks.conf or hooks.d")
    if faults:
        raise SettingsError(f"reading the configuration of cfn-hup: {'; '.join(faults)}")
    return main, hooks


def _main(given: Mapping[str, str], faults: list[str]) -> Main:
    if not given.get("stack"):
        faults.append("[main] names no stack")
    if not given.get("credential-file"):
        faults.append("[main] names no credential-file")
    try:
        interval_s = float(given.get("interval", "10")) * 60
        umask = int(given.get("umask", "022"), 8)
    except ValueError:
        interval_s, umask = 0.0, 0
    if not 60 <= interval_s < float("inf") or not 0 <= umask <= 0o777:
        faults.append("[main] interval is a number of minutes from 1 on, umask is octal")
    verbose = given.get("verbose", "").lower() in ("1", "true", "yes")
    stack, credential_file = given.get("stack", ""), given.get("credential-file", "")
    return Main(stack, credential_file, given.get("url", ""), interval_s, umask, verbose)


def _hook(name: str, given: Mapping[str, str], faults: list[str]) -> HupHook:
    missing = [key for key in _WANTED if not given.get(key)]
    if missing:
        faults.append(f"[{name}] has no {', '.join(missing)}")
    parts = cfn_metadata.key_parts(given.get("path", ""))
    if not missing and (parts[0] != "Resources" or len(parts) < 2 or not parts[1]):
        faults.append(f"[{name}] path is not Resources.<name>[.Metadata|.{PHYSICAL_ID}][.key…]")
    triggers = tuple(word for word in re.split(r"[,\s]+", given.get("triggers", "")) if word)
    resource, part = (*parts, "", "")[1], (*parts, "", "", "")[2] or "Metadata"
    return HupHook(name, triggers, resource, part, parts[3:], given.get("action", ""), given.get("runas", ""))


def value(hook: HupHook, resource: Resource | None) -> Json | Absent:
    """What the hook looks at, ABSENT when it is not there."""
    if resource is None:
        return ABSENT
    if hook.part == PHYSICAL_ID:
        return resource.physical_id
    try:
        return below(resource.metadata, hook.below if hook.part == "Metadata" else ())
    except KeyError:
        return ABSENT


def concerned(hook: HupHook, old: Json | Absent, new: Json | Absent) -> str:
    """The trigger that fires, "" when none does. What was not there is an update, too, as heat-cfntools has it."""
    if isinstance(old, Absent) and isinstance(new, Absent):
        return ""
    if isinstance(new, Absent):
        fitting: tuple[str, ...] = (REMOVE,)
    elif isinstance(old, Absent):
        fitting = (ADD, UPDATE)
    else:
        fitting = () if old == new else (UPDATE,)
    return next((trigger for trigger in fitting if trigger in hook.triggers), "")
