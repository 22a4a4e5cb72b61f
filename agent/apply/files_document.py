r"""A document of files as values; docs/files.md tells its keys. Every fault of it is found here, none is looked past.

files:
/etc/app/app.conf: {content: "port = 80\n", mode: "0640", group: app, notify: [app.service]}
"""

from __future__ import annotations

import base64
import binascii
import json
import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.apply import validation
from agent.apply.notify import Units
from agent.errors import ApplyError, MetadataError
from agent.model import Json, JsonMap

KEYS = (
    *("content", "encoding", "source", "optional", "sha256", "link", "append", "comment"),
    *("mode", "owner", "group", "secret", "validate", "notify", "restart"),
)
_ORIGINS = ("content", "source", "link")
_MODE = re.compile(r"(?:0o)?[0-7]{3,5}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@][A-Za-z0-9:_.\\@-]*")


@dataclass(frozen=True, slots=True)
class Entry:
    """One file that shall be there: its content, or where that comes from, or the target of a link."""

    path: str
    content: bytes | None = field(default=None, repr=False)
    source: str = field(default="", repr=False)
    link: str = ""
    optional: bool = False
    sha256: str = ""
    append: bool = False
    comment: str = "#"
    mode: int | None = None
    owner: str = ""
    group: str = ""
    secret: bool = False
    validate: tuple[str, ...] = ()
    units: Units = field(default_factory=Units)


def parse(raw: JsonMap) -> tuple[Entry, ...]:
    """The files of a document. Raises MetadataError that names every fault with its entry and key."""
    faults = [f"{key}: no such key; files is the only one" for key in sorted(raw) if key != "files"]
    files = raw.get("files") or {}
    entries: list[Entry] = []
    if isinstance(files, dict):
        reader = _Reader(faults)
        entries = [reader.entry(path, given) for path, given in files.items()]
    else:
        faults.append("files: a map of paths is wanted")
    faults += _clashes(entry.path for entry in entries)
    if faults:
        raise MetadataError(f"the document cannot be used, nothing was changed: {'; '.join(faults)}")
    return tuple(entries)


def _clashes(paths: Iterable[str]) -> list[str]:
    """No path twice, however it is spelled, and no file where another one needs a directory."""
    listed = sorted(paths)
    twice = [f"{path}: it is there twice; leave one" for path in sorted({p for p in listed if listed.count(p) > 1})]
    known = set(listed)
    above = {up for path in listed for up in _upwards(path) if up in known}
    return twice + [f"{path}: another entry needs it to be a directory" for path in sorted(above)]


def _upwards(path: str) -> Iterable[str]:
    while (path := posixpath.dirname(path)) not in {"/", ""}:
        yield path


class _Reader:
    """Gathers the faults of all entries."""

    def __init__(self, faults: list[str]) -> None:
        self._faults = faults
        self._where = ""

    def entry(self, path: str, given: Json) -> Entry:
        self._where = path[:200]
        if not path.startswith("/") or path.endswith(("/", "/.", "/..")) or "\0" in path:
            self._fault("it is no absolute path of a file")
        content: JsonMap = given if isinstance(given, dict) else {"content": given}
        unknown = sorted(set(content) - set(KEYS))
        if unknown:
            self._fault(f"unknown key {', '.join(unknown)}; known are {', '.join(KEYS)}")
        link = self._text(content, "link")
        entry = Entry(
            path=posixpath.normpath(path),
            content=self._content(content),
            source=self._source(content),
            link=link,
            optional=self._flag(content, "optional"),
            sha256=self._digest(content),
            append=self._flag(content, "append"),
            comment=self._text(content, "comment") or "#",
            mode=self._mode(content),
            owner=self._account(content, "owner"),
            group=self._account(content, "group"),
            secret=self._flag(content, "secret"),
            validate=self._command(content),
            units=Units(self._units(content, "notify"), self._units(content, "restart")),
        )
        self._judge(entry, [key for key in _ORIGINS if content.get(key) is not None], set(content))
        return entry

    def _judge(self, entry: Entry, origins: list[str], keys: set[str]) -> None:
        """What each key alone does not tell."""
        if len(origins) != 1:
            self._fault(f"one of {', '.join(_ORIGINS)} is wanted, not {' and '.join(origins) or 'none'}")
        idle = keys & {"mode", "owner", "group", "append", "sha256", "validate"}
        if entry.link and idle:
            self._fault(f"{', '.join(sorted(idle))}: of no use with a link")
        if entry.optional and not entry.source:
            self._fault("optional: of no use without a source")
        if "\n" in entry.comment:
            self._fault("comment: one line is wanted")

    def _content(self, given: JsonMap) -> bytes | None:
        content, encoding = given.get("content"), given.get("encoding", "plain")
        if encoding not in ("plain", "base64"):
            self._fault("encoding: neither plain nor base64")
        if content is None:
            return None
        try:
            if not isinstance(content, str):
                return json.dumps(content, indent=4, sort_keys=True).encode() + b"\n"
            return base64.b64decode(content, validate=True) if encoding == "base64" else content.encode()
        except binascii.Error:
            self._fault("content: not base64")
        except UnicodeEncodeError:
            self._fault("content: no Unicode text (half of a surrogate pair)")
        return None

    def _source(self, given: JsonMap) -> str:
        source = self._text(given, "source")
        if source and not source.startswith(("/", "http://", "https://")):
            self._fault("source: an absolute path, or an http or https URL, is wanted")
        return source

    def _mode(self, given: JsonMap) -> int | None:
        mode = given.get("mode")
        if mode is None:
            return None
        if isinstance(mode, str) and _MODE.fullmatch(mode) and int(mode.removeprefix("0o"), 8) <= 0o7777:
            return int(mode.removeprefix("0o"), 8)
        self._fault('mode: octal digits in quotes are wanted, as in "0640"')
        return None

    def _digest(self, given: JsonMap) -> str:
        digest = self._text(given, "sha256").lower()
        if digest and not _DIGEST.fullmatch(digest):
            self._fault("sha256: 64 hexadecimal digits are wanted")
        return digest

    def _account(self, given: JsonMap, key: str) -> str:
        value = given.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
            return str(value)
        return self._text(given, key)

    def _command(self, given: JsonMap) -> tuple[str, ...]:
        try:
            return () if given.get("validate") is None else validation.command(given["validate"])
        except ApplyError as exc:
            self._fault(str(exc))
            return ()

    def _units(self, given: JsonMap, key: str) -> tuple[str, ...]:
        units = self._texts(given, key)
        if not all(_UNIT.fullmatch(unit) for unit in units):
            self._fault(f"{key}: a list of names of units is wanted")
        return tuple(unit if "." in unit else f"{unit}.service" for unit in units)

    def _texts(self, given: JsonMap, key: str) -> tuple[str, ...]:
        listed = given.get(key)
        if listed is None:
            return ()
        if isinstance(listed, list) and listed and all(isinstance(word, str) and "\0" not in word for word in listed):
            return tuple(map(str, listed))
        self._fault(f"{key}: a list of texts is wanted")
        return ()

    def _text(self, given: JsonMap, key: str) -> str:
        value = given.get(key)
        if value is None or (isinstance(value, str) and value and "\0" not in value):
            return value or ""
        self._fault(f"{key}: text is wanted")
        return ""

    def _flag(self, given: JsonMap, key: str) -> bool:
        value = given.get(key)
        if value is not None and not isinstance(value, bool):
            self._fault(f"{key}: true or false is wanted")
        return value is True

    def _fault(self, text: str) -> None:
        self._faults.append(f"{self._where}: {text}")
