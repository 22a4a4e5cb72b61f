"""The cache directory of os-collect-config, as scripts of others know it.

    KEY.json                the newest content
    KEY.json.orig           the first content ever seen, without secrets of deployments: nobody compares with it
    KEY.json.last           the content at the last command that succeeded
    os_config_files.json    the paths of the round, in the order of the sources

Everything is decided from these files, so nothing is forgotten over a restart: a key has changed when its `.last` says
something else, and is gone when only its `.last` remains.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from agent import jsontext, keeping, log, model, state
from agent.errors import MetadataError, StateError
from agent.model import Document, Json

LIST = "os_config_files"
LISTING = ("cfn", "heat", "request", "zaqar")
"""Sources whose deployments become files of their own."""
OWN = ("heat_local", "ec2", "config_drive", *LISTING)
"""Sources whose document bears their name; `local` alone has a name of its own for each file."""

KeysOf: TypeAlias = Callable[[str], Iterable[str]]
"""The root keys below which a source lists deployments."""

_SUFFIXES = (".json", ".json.orig", ".json.last")
_LONGEST_NAME = 200


@dataclass(frozen=True, slots=True)
class Item:
    """One file to be: what a source said, or one deployment or local file of it. `file` is its name without .json."""

    key: str
    content: Json = field(repr=False)
    file: str


def own(source: str, content: Json) -> Item:
    """The document of a source."""
    return Item(source, content, source)


def foreign(name: str, content: Json) -> Item:
    """Something whose name somebody else chose: it takes nobody's place and does not leave the directory."""
    return Item(name, content, file_name(name))


def file_name(name: str) -> str:
    """`name` where it is fit for a file, without the colon that separates paths, and not taken; else with %xx."""
    safe = "".join(f"%{ord(c):02x}" if c in "/:\0" or ord(c) < 32 else c for c in name)
    if safe in (*OWN, LIST) or safe.startswith("."):
        safe = f"%{ord(safe[0]):02x}{safe[1:]}"
    if len(os.fsencode(safe)) > _LONGEST_NAME:
        digest = hashlib.sha256(os.fsencode(name)).hexdigest()
        safe = os.fsdecode(os.fsencode(safe)[: _LONGEST_NAME // 2].decode("utf-8", "ignore").encode()) + f"-{digest}"
    return safe


def taken_apart(source: str, content: Json, keys: Iterable[str]) -> tuple[Item, ...]:
    """The document of a source, then each deployment in it that is data for templates."""
    items = [own(source, content)]
    for key in keys if source in LISTING else ():
        listed = content.get(key) if isinstance(content, dict) else None
        for element in listed if isinstance(listed, list) else []:
            if (
                not isinstance(element, dict)
                or element.get("group", "Heat::Ungrouped") not in model.ANSWERED_BY_TEMPLATES
            ):
                continue
            name = element.get("name")
            if name in (None, ""):
                continue
            if "config" not in element:
                log.debug("deployment without config skipped", source=source, deployment=str(name))
                continue
            items.append(foreign(str(name), element["config"]))
    return tuple(items)


def of_documents(documents: Iterable[Document], keys: Iterable[str]) -> tuple[Item, ...]:
    """What the agent's documents come to as files, in their order."""
    listing = tuple(keys)
    return latest(
        item
        for document in documents
        for item in (
            (foreign(document.name, document.content),)
            if document.source == "local"
            else taken_apart(document.source, document.content, listing)
        )
    )


def latest(items: Iterable[Item]) -> tuple[Item, ...]:
    """Of items with the same file the last one, in its place."""
    found: dict[str, Item] = {}
    for item in items:
        found.pop(item.file, None)
        found[item.file] = item
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Cache:
    """The directory."""

    directory: Path

    def path(self, file: str) -> Path:
        return self.directory / f"{file}.json"

    def open(self) -> None:
        state.make_directory(self.directory)
        for left in self.directory.glob(".*.tmp"):
            with suppress(OSError):  # what a power cut left half-written
                left.unlink()

    def content(self, file: str, suffix: str = ".json") -> Json | MetadataError:
        """What a file of the cache holds, an error when it is not there or damaged."""
        path = self.directory / f"{file}{suffix}"
        try:
            return jsontext.decode(path.read_bytes(), str(path))
        except OSError as exc:
            return MetadataError(f"reading {path}: {exc.strerror}")
        except MetadataError as exc:
            return exc

    def changed(self, items: Iterable[Item]) -> tuple[Item, ...]:
        """What differs from the last command that succeeded."""
        return tuple(
            item
            for item in items
            if not (self.directory / f"{item.file}.json.orig").exists()
            or self.content(item.file, ".json.last") != item.content
        )

    def store(self, items: Iterable[Item]) -> None:
        """Each content as it is now, and as it was first; durable on return."""
        for item in items:
            data = _dump(item.content)
            if not _is_kept(self.path(item.file), data):
                state.write(self.path(item.file), data)
            first = self.directory / f"{item.file}.json.orig"
            if not first.exists():
                state.write(first, _dump(_without_secrets(item.content)))

    def write_list(self, items: Iterable[Item]) -> None:
        state.write(self.path(LIST), json.dumps([str(self.path(item.file)) for item in items]).encode())

    def commit(self, items: Iterable[Item]) -> None:
        """The command has succeeded with these."""
        for item in items:
            state.write(self.directory / f"{item.file}.json.last", _dump(item.content))

    def remove(self, files: Iterable[str]) -> None:
        """What no source lists any more: old contents may be secret."""
        for file in files:
            for suffix in _SUFFIXES:
                state.remove(self.directory / f"{file}{suffix}")

    def kept(self, source: str, keys: Iterable[str]) -> tuple[Item, ...]:
        """What a source that is down said when it last answered; nothing when it never did."""
        content = self.content(source)
        return () if isinstance(content, MetadataError) else taken_apart(source, content, keys)

    def gone(self, items: Iterable[Item], answered: Collection[str], keys_of: KeysOf) -> frozenset[str]:
        """Files of an earlier round that the sources which answered no longer list."""
        listed = {source: self._deployments(source, ".json.last", keys_of) for source in LISTING}
        before = {source: self._deployments(source, ".json", keys_of) for source in LISTING}
        gone = {file for said in (listed, before) for source in answered for file in said.get(source, ())}
        if "local" in answered:
            gone |= self._committed() - {file for files in before.values() for file in files} - set(OWN)
        kept = {file for source in LISTING if source not in answered for file in listed[source]}
        gone -= kept | {item.file for item in items}
        return frozenset(file for file in gone if self.path(file).exists())

    def local(self, keys_of: KeysOf) -> tuple[Item, ...]:
        """The local files of the last round that had a change, in their order."""
        listed = self.content(LIST)
        paths = [path for path in listed if isinstance(path, str)] if isinstance(listed, list) else []
        files = [Path(path).name.removesuffix(".json") for path in paths]
        others = {file for source in LISTING for file in self._deployments(source, ".json", keys_of)} | set(OWN)
        found = [(file, self.content(file)) for file in files if file not in others]
        return tuple(Item(file, content, file) for file, content in found if not isinstance(content, MetadataError))

    def back_up(self, to: Path) -> None:
        """Copy the directory, so that what a command saw can be looked at; an old copy goes."""
        if self.directory.is_relative_to(to) or to.is_relative_to(self.directory):
            raise StateError(f"copying the cache to {to}: it lies within, or holds, {self.directory}")
        try:
            shutil.rmtree(to, ignore_errors=True)
            state.make_directory(to)
            for path in self.directory.iterdir():
                if path.is_file() and not path.is_symlink():
                    _copy(path, to / path.name)
        except OSError as exc:
            raise StateError(f"copying the cache to {to}: {exc.strerror}; see backup_cachedir") from exc

    def _deployments(self, source: str, suffix: str, keys_of: KeysOf) -> tuple[str, ...]:
        content = self.content(source, suffix)
        if isinstance(content, MetadataError):
            return ()
        return tuple(item.file for item in taken_apart(source, content, keys_of(source))[1:])

    def _committed(self) -> set[str]:
        return {path.name.removesuffix(".json.last") for path in self.directory.glob("*.json.last")}


def _copy(path: Path, to: Path) -> None:
    fd = os.open(to, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(path.read_bytes())


def _is_kept(path: Path, data: bytes) -> bool:
    """Whether the file holds this, and is for its owner alone."""
    try:
        return path.read_bytes() == data and stat.S_IMODE(path.stat().st_mode) == 0o600
    except OSError:
        return False


def _without_secrets(content: Json) -> Json:
    """What the first document told of deployments was for them, who are done with long before the file goes."""
    return keeping.form(content, lambda _key: keeping.Need.NOTHING) if isinstance(content, dict) else content


def _dump(content: Json) -> bytes:
    return json.dumps(content, indent=1).encode()
