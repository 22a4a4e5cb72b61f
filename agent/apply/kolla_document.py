"""Kolla's document as values. Every fault of it is found here, before anything is looked at or written."""

from __future__ import annotations

import json
import posixpath
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from agent import yamltext
from agent.apply.accounts import Owner
from agent.apply.scene import has_magic
from agent.errors import ApplyError, MetadataError
from agent.model import Json, JsonMap

_MODE = re.compile(r"(?:0o)?([0-7]{3,4})")
_SECTIONS = {
    "config_files": frozenset({"source", "dest", "owner", "perm", "optional", "merge", "preserve_properties"}),
    "directories": frozenset({"path", "owner", "perm"}),
    "files": frozenset({"path", "owner", "perm"}),
    "permissions": frozenset({"path", "owner", "perm", "recurse", "exclude"}),
}


class InvalidConfig(ApplyError):
    """The document is at fault; the message names entry and key."""


class MissingRequiredSource(ApplyError):
    """A source that is not optional is not there."""


@dataclass(frozen=True, slots=True)
class Copy:
    """An entry of `config_files`. Without `preserve` it has an owner and a mode."""

    source: str
    dest: str
    owner: Owner | None = None
    mode: int | None = None
    into: bool = False  # dest ended with a slash: the source goes below it under its own name
    optional: bool = False
    merge: bool = False
    preserve: bool = False
    where: str = ""


@dataclass(frozen=True, slots=True)
class Declared:
    """An entry of `directories` or `files`."""

    path: str
    owner: Owner
    mode: int


@dataclass(frozen=True, slots=True)
class Permission:
    """An entry of `permissions`: whom it concerns, and what is set there; None is left alone."""

    path: str
    owner: Owner | None = None
    mode: int | None = None
    recurse: bool = False
    exclude: tuple[re.Pattern[str], ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    command: str
    copies: tuple[Copy, ...] = ()
    directories: tuple[Declared, ...] = ()
    files: tuple[Declared, ...] = ()
    permissions: tuple[Permission, ...] = ()
    unknown: tuple[str, ...] = ()  # sections that nobody reads


def parse(data: bytes, name: str) -> Document:
    """The document from a JSON file, or from a YAML file, going by the name."""
    try:
        raw = yamltext.decode(data, name) if name.endswith((".yaml", ".yml")) else json.loads(data)
    except MetadataError as exc:
        raise InvalidConfig(str(exc)) from exc
    except (ValueError, RecursionError) as exc:
        raise InvalidConfig(f"reading {name}: {exc}") from exc
    return document(raw)


def document(raw: Json) -> Document:
    """The document from what was parsed. Raises InvalidConfig."""
    if not isinstance(raw, dict):
        raise InvalidConfig("the document is empty or no object; it needs at least the key command")
    if "command" not in raw:
        raise InvalidConfig('config is missing the required key "command"')
    return Document(
        _command(raw["command"]),
        tuple(_copy(entry, where) for where, entry in _entries(raw, "config_files")),
        tuple(_declared(entry, where) for where, entry in _entries(raw, "directories")),
        tuple(_declared(entry, where) for where, entry in _entries(raw, "files")),
        tuple(_permission(entry, where) for where, entry in _entries(raw, "permissions")),
        tuple(sorted(map(str, set(raw) - set(_SECTIONS) - {"command"}))),
    )


def _command(raw: Json) -> str:
    """A text stays as it is; a list of words becomes the text that is split into them again."""
    if isinstance(raw, str):
        return raw
    if isinstance(raw, list) and raw and all(isinstance(word, str) for word in raw):
        return shlex.join(map(str, raw))
    raise InvalidConfig("command: it must be a text, or a list of texts")


def _entries(raw: JsonMap, section: str) -> list[tuple[str, JsonMap]]:
    listed = raw.get(section)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise InvalidConfig(f"{section}: it must be a list")
    entries = []
    for position, entry in enumerate(listed):
        where = f"{section}[{position}]"
        if not isinstance(entry, dict):
            raise InvalidConfig(f"{where}: it must be an object")
        unknown = sorted(map(str, set(entry) - _SECTIONS[section]))
        if unknown:
            raise InvalidConfig(
                f"{where}: unknown key {', '.join(unknown)}; known: {', '.join(sorted(_SECTIONS[section]))}"
            )
        entries.append((where, entry))
    return entries


def _copy(entry: JsonMap, where: str) -> Copy:
    source, dest = _path(entry, "source", where), _path(entry, "dest", where)
    preserve, merge = _flag(entry, "preserve_properties", where), _flag(entry, "merge", where)
    owner, mode = _owner(entry, where), _mode(entry, where)
    if not preserve and (owner is None or mode is None):
        raise InvalidConfig(f"{where}: it needs preserve_properties, or owner and perm")
    if source.endswith("/") and dest.endswith("/") and not merge:
        raise InvalidConfig(f"{where}: source and dest both end with /, which would delete all of {dest}; give merge")
    return Copy(
        posixpath.normpath(source),
        posixpath.normpath(dest),
        owner,
        mode,
        into=dest.endswith("/") and not source.endswith("/"),
        optional=_flag(entry, "optional", where),
        merge=merge,
        preserve=preserve,
        where=where,
    )


def _declared(entry: JsonMap, where: str) -> Declared:
    path, owner, mode = _path(entry, "path", where), _owner(entry, where), _mode(entry, where)
    if has_magic(path):
        raise InvalidConfig(f"{where}.path: wildcards have no meaning here")
    if owner is None or mode is None:
        raise InvalidConfig(f"{where}: owner and perm are required and must not be null")
    return Declared(posixpath.normpath(path), owner, mode)


def _permission(entry: JsonMap, where: str) -> Permission:
    path = posixpath.normpath(_path(entry, "path", where))
    listed = entry.get("exclude") or []
    if not isinstance(listed, list):
        raise InvalidConfig(f"{where}.exclude: it must be a list of regular expressions")
    exclude = tuple(_pattern(text, f"{where}.exclude[{number}]") for number, text in enumerate(listed))
    return Permission(path, _owner(entry, where), _mode(entry, where), _flag(entry, "recurse", where), exclude)


def _pattern(text: Json, where: str) -> re.Pattern[str]:
    if not isinstance(text, str):
        raise InvalidConfig(f"{where}: it must be a text")
    try:
        return re.compile(text)
    except re.error as exc:
        raise InvalidConfig(f"{where}: no regular expression: {exc}") from exc


def _path(entry: Mapping[str, Json], key: str, where: str) -> str:
    if key not in entry:
        raise InvalidConfig(f"{where}: the required key {key} is missing")
    path = entry[key]
    if not isinstance(path, str) or not path.startswith("/") or "\0" in path:
        raise InvalidConfig(f"{where}.{key}: it must be an absolute path")
    return "/" + path.lstrip("/")


def _flag(entry: Mapping[str, Json], key: str, where: str) -> bool:
    value = entry.get(key)
    if value is not None and not isinstance(value, bool):
        raise InvalidConfig(f"{where}.{key}: it must be true or false")
    return value is True


def _owner(entry: Mapping[str, Json], where: str) -> Owner | None:
    """`user:group`; a group that is not named has the user's name."""
    text = entry.get("owner")
    if text is None:
        return None
    user, _, group = text.partition(":") if isinstance(text, str) else ("", "", "")
    if not user:
        raise InvalidConfig(f"{where}.owner: it must be a text: user, or user:group")
    return Owner(user, group or user, f"{where}.owner")


def _mode(entry: Mapping[str, Json], where: str) -> int | None:
    text = entry.get("perm")
    if text is None:
        return None
    found = _MODE.fullmatch(text) if isinstance(text, str) else None
    if not found:
        raise InvalidConfig(f'{where}.perm: it must be a quoted text of 3 or 4 octal digits, as "0640"')
    return int(found[1], 8)
