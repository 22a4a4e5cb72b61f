"""Section sources: archives unpacked into directories. Every member is judged before the first is written."""

from __future__ import annotations

import filecmp
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from agent import transport, urls
from agent.apply import cfn_archive
from agent.apply.cfn_archive import DIRECTORY, HARD_LINK, LINK, Archive, Member
from agent.apply.cfn_model import Fetch, Source
from agent.apply.cfn_programs import Tell
from agent.errors import ApplyError

_GITHUB = re.compile(r"(www\.|api\.|codeload\.)?github\.com")
_CHUNK = 1 << 20


def unpack(sources: Iterable[Source], fetch: Fetch, tell: Tell) -> frozenset[str]:
    """Unpack each; the directories, as the document spells them, in which something changed."""
    changed = set()
    for source in sources:
        directory = Path(source.directory).absolute()
        with fetch(source.url, source.authentication) as archive:
            count = extract(archive, source.url, directory)
        tell(f"source {transport.show(source.url)} unpacked into {directory}: {count} changed")
        if count:
            changed.add(source.directory)
    return frozenset(changed)


def extract(archive: Path, url: str, directory: Path) -> int:
    """Unpack the archive that came from `url` into the directory; how many members changed something there.

    Owners of members are not kept, nor rights beyond rwx for the owner and rx for others.
    """
    parts = urls.split(url)
    name = posixpath.basename(unquote(parts.path)) or "archive"
    strip = bool(_GITHUB.fullmatch(parts.hostname or ""))
    with cfn_archive.opened(archive, name) as found:
        members = cfn_archive.judge(found.members, strip=strip)
        with _telling("making", directory):
            directory.mkdir(parents=True, exist_ok=True)
        inside = Path(os.path.realpath(directory))
        return sum(_write(member, found, inside) for member in members)


def _write(member: Member, archive: Archive, directory: Path) -> bool:
    """Put one member in its place; whether anything changed. A link at the place is replaced, never followed."""
    path = directory / member.name
    with _telling("making", path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
    if not Path(os.path.realpath(path.parent)).is_relative_to(directory):
        raise ApplyError(f"unpacking {path}: a link that is there leads out of {directory}; remove it")
    if member.kind == DIRECTORY:
        with _telling("making", path):
            there = path.is_dir()
            path.mkdir(exist_ok=True)
        return not there
    temporary = path.with_name(f".agent-{os.getpid()}-{os.urandom(8).hex()}.tmp")
    try:
        return _stage(member, archive, directory, temporary) and _swap(temporary, path)
    finally:
        with suppress(FileNotFoundError):  # it is in its place
            temporary.unlink()


def _stage(member: Member, archive: Archive, directory: Path, temporary: Path) -> bool:
    with _telling("unpacking", directory / member.name):
        if member.kind == LINK:
            temporary.symlink_to(member.target)
            return True
        if member.kind == HARD_LINK:
            os.link(directory / member.target, temporary, follow_symlinks=False)
            return True
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with archive.open(member) as stream:
            _copy(stream, fd, temporary)
        with _telling("unpacking", directory / member.name):
            os.fchmod(fd, (member.mode & 0o755) | 0o600)
    finally:
        os.close(fd)
    return True


def _copy(stream: IO[bytes], fd: int, path: Path) -> None:
    written = 0
    while chunk := stream.read(_CHUNK):  # damage shows here, and is told of by who opened the archive
        written += len(chunk)
        if written > cfn_archive.MAX_SIZE:
            raise ApplyError(f"unpacking {path.parent}: more than {cfn_archive.MAX_SIZE >> 30} GiB")
        with _telling("unpacking into", path.parent):
            view = memoryview(chunk)
            while view:
                view = view[os.write(fd, view) :]


def _swap(temporary: Path, path: Path) -> bool:
    with _telling("replacing", path):
        if _same(temporary, path):
            return False
        temporary.rename(path)
    return True


def _same(one: Path, other: Path) -> bool:
    try:
        left, right = one.lstat(), other.lstat()
    except FileNotFoundError:
        return False
    if left.st_mode != right.st_mode:
        return False
    if stat.S_ISLNK(left.st_mode):
        return one.readlink() == other.readlink()
    return left.st_ino == right.st_ino or filecmp.cmp(one, other, shallow=False)


@contextmanager
def _telling(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ApplyError(f"{doing} {path}: {exc.strerror}") from exc
