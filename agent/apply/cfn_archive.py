"""Archives: what kind one is (by its content, never by its name), what it holds, and where that may go.

Judging comes first and is pure: no member is written unless every member stays in the directory.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import IO, Any

from agent.errors import ApplyError

DIRECTORY, FILE, LINK, HARD_LINK = "directory", "file", "link", "hard link"
MAX_MEMBERS = 200_000
MAX_SIZE = 8 << 30
"""Unpacked, all members together: more than that is a bomb, or nothing for a boot."""

_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError, ValueError),
    *(IndexError, MemoryError),  # a zip's member without a name; an xz that wants any amount of memory
)


@dataclass(frozen=True, slots=True)
class Member:
    """One entry; `target` is that of a link, `key` what the archive knows it by."""

    name: str
    kind: str = FILE
    mode: int = 0o644
    size: int = 0
    target: str = ""
    key: Any = field(default=None, repr=False, compare=False)


class Archive:
    """An archive that is open for reading."""

    def __init__(self, members: tuple[Member, ...], read: IO[bytes] | tarfile.TarFile | zipfile.ZipFile) -> None:
        self.members = members
        self._read = read

    def open(self, member: Member) -> IO[bytes]:
        """The content of a file."""
        if isinstance(self._read, tarfile.TarFile):
            found = self._read.extractfile(member.key)
            assert found is not None
            return found
        return self._read.open(member.key) if isinstance(self._read, zipfile.ZipFile) else self._read


@contextmanager
def opened(path: Path, name: str) -> Iterator[Archive]:
    """The archive in a file: zip or tar, packed or not; a packed file that is none is one file without its suffix.

    `name` is the last part of its URL. Raises ApplyError for anything else, and for what is damaged.
    """
    try:
        with path.open("rb") as data, _open(data, name) as archive:
            yield archive
    except _DAMAGED as exc:
        raise ApplyError(f"unpacking {name}: damaged ({exc}); look at what its URL serves") from exc


@contextmanager
def _open(data: IO[bytes], name: str) -> Iterator[Archive]:
    head = data.read(8)
    data.seek(0)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(data) as packed:
            yield Archive(tuple(_from_zip(packed, info) for info in packed.infolist()), packed)
        return
    try:
        tar = tarfile.open(fileobj=data)  # noqa: SIM115 - closed below, where its errors mean damage
    except tarfile.ReadError as exc:
        unpack = next((unpack for magic, unpack in _PACKED.items() if head.startswith(magic)), None)
        if unpack is None:
            raise ApplyError(f"unpacking {name}: neither zip nor tar, nor gz, bz2 or xz; look at its URL") from exc
        data.seek(0)
        with unpack(data) as stream:
            yield Archive((Member(posixpath.splitext(name)[0] or "file"),), stream)
        return
    with tar:
        yield Archive(tuple(_from_tar(info) for info in islice(tar, MAX_MEMBERS + 1)), tar)


def _from_tar(info: tarfile.TarInfo) -> Member:
    if info.isdir():
        kind = DIRECTORY
    elif info.issym():
        kind = LINK
    elif info.islnk():
        kind = HARD_LINK
    else:
        kind = FILE if info.isreg() else f"special file ({info.type!r})"
    return Member(info.name, kind, info.mode & 0o777, info.size if info.isreg() else 0, info.linkname, info)


def _from_zip(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    rights = info.external_attr >> 16
    if info.is_dir():
        return Member(info.filename, DIRECTORY, 0o755, key=info)
    if rights & 0o170000 == 0o120000:
        if info.file_size > 4096:
            raise ValueError(f"a link of {info.file_size} bytes")
        return Member(info.filename, LINK, target=packed.read(info).decode("utf-8", "surrogateescape"), key=info)
    return Member(info.filename, FILE, rights & 0o777 or 0o644, info.file_size, key=info)


# ------------------------------------------------------------------------------------------------- judge


def judge(members: Iterable[Member], *, strip: bool = False) -> tuple[Member, ...]:
    """The members with their places below the directory, directories first made by whoever needs them.

    With `strip` the one directory at the top that all share is left out. Raises ApplyError for a member that would
    leave the directory, by its name or by a link, and for what is neither file, directory nor link.
    """
    inside = [_normal(member) for member in members]
    if strip:
        inside = _without_top(inside)
    placed = tuple(member for member in inside if member.name != ".")
    if len(placed) > MAX_MEMBERS or sum(member.size for member in placed) > MAX_SIZE:
        raise ApplyError(f"unpacking: more than {MAX_MEMBERS} members or {MAX_SIZE >> 30} GiB; nothing was written")
    links = {member.name for member in placed if member.kind == LINK}
    files: set[str] = set()
    for member in placed:
        _judge(member, links, files)
        files |= {member.name} if member.kind in (FILE, HARD_LINK) else set()
    return placed


def _judge(member: Member, links: set[str], files: set[str]) -> None:
    if member.kind not in (DIRECTORY, FILE, LINK, HARD_LINK):
        raise ApplyError(f"unpacking: {member.name!r} is a {member.kind}; nothing was written")
    above = member.name
    while above := posixpath.dirname(above):
        if above in links:
            raise ApplyError(f"unpacking: {member.name!r} goes through the link {above!r}; nothing was written")
    if member.kind == LINK:
        _judge_link(member)
    if member.kind == HARD_LINK and member.target not in files:
        raise ApplyError(f"unpacking: {member.name!r} is a second name of no file before it; nothing was written")


def _judge_link(member: Member) -> None:
    """A link may lead up only from where it lies: what comes after a name may be a link itself, and up from there."""
    parts = [part for part in member.target.split("/") if part not in ("", ".")]
    rising = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if member.target.startswith("/") or ".." in parts[rising:] or not member.target:
        raise ApplyError(f"unpacking: the link {member.name!r} leads out of the directory; nothing was written")
    _inside(posixpath.join(posixpath.dirname(member.name), member.target), member.name)


def _normal(member: Member) -> Member:
    target = _inside(member.target, member.name) if member.kind == HARD_LINK else member.target
    return replace(member, name=_inside(member.name, member.name), target=target)


def _inside(path: str, shown: str) -> str:
    """A path without . and .., which must not lead above the directory."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == ".." and not parts:
            raise ApplyError(f"unpacking: {shown!r} is not a sub-path of the directory; nothing was written")
        if part == "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    if "\0" in path or path.startswith("/"):
        raise ApplyError(f"unpacking: {shown!r} is not a sub-path of the directory; nothing was written")
    return "/".join(parts) or "."


def _without_top(members: list[Member]) -> list[Member]:
    tops = {member.name.partition("/")[0] for member in members}
    if len(tops) != 1 or any("/" not in member.name and member.kind != DIRECTORY for member in members):
        return members
    return [replace(member, name=member.name.partition("/")[2] or ".", target=_shortened(member)) for member in members]


def _shortened(member: Member) -> str:
    return member.target.partition("/")[2] if member.kind == HARD_LINK else member.target
