"""The one placer of files, its deciding half: what is there, what shall be there, and what that makes of each path.

Nothing is written here; `install` carries it out. "Unchanged" means that installing would not touch the file.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import ApplyError

CREATED, CHANGED, REMOVED, UNCHANGED = "created", "changed", "removed", "unchanged"
NEW_MODE = 0o644
CHUNK = 1 << 20

ABSENT, FILE, LINK = "absent", "file", "link"


@dataclass(frozen=True, slots=True)
class Placement:
    """One declared file. `content` None means that nothing shall be at the path; a `link` is one with that text.

    Content that is a path is that file's. A mode or owner of None is kept from what is there; a new file gets 0644 and
    whoever writes it. `validate` is a command that has to accept the new file, which it gets in place of `%s`.
    """

    path: Path
    content: bytes | Path | None = field(default=b"", repr=False)
    link: str = ""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    secret: bool = False
    validate: tuple[str, ...] = ()

    @property
    def absent(self) -> bool:
        """Whether nothing shall be at the path."""
        return self.content is None and not self.link


@dataclass(frozen=True, slots=True)
class Seen:
    """What is at a path. Mode and owner are those of a regular file, at the path or behind the link there."""

    kind: str = ABSENT
    text: str = ""
    same: bool = False
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What applying one placement does: a word, and what differs (`content`, `mode`, `owner`, `kind`)."""

    placement: Placement
    word: str
    seen: Seen
    differs: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return self.placement.path

    @property
    def mode(self) -> int:
        """The mode that the file will have."""
        if self.placement.mode is not None:
            return self.placement.mode
        return NEW_MODE if self.seen.mode is None else self.seen.mode

    @property
    def owner(self) -> tuple[int, int]:
        """Who will own it, -1 for whoever writes it."""
        uid = self.seen.uid if self.placement.uid is None else self.placement.uid
        gid = self.seen.gid if self.placement.gid is None else self.placement.gid
        return (-1 if uid is None else uid, -1 if gid is None else gid)

    @property
    def hidden(self) -> bool:
        """Whether its content is shown to nobody: it is secret, or not everybody may read it before and after."""
        readable = [mode for mode in (self.seen.mode, self.mode) if mode is not None]
        return self.placement.secret or any(not mode & stat.S_IROTH for mode in readable)


def check(placements: Iterable[Placement]) -> tuple[Change, ...]:
    """What `install` would do, in the same order; all `unchanged` exactly when it would touch nothing.

    Raises ApplyError for what cannot be applied at all.
    """
    listed = tuple(placements)
    _refuse_clashes(listed)
    return tuple(judge(placement, look(placement)) for placement in listed)


def look(placement: Placement) -> Seen:
    """What is at the path now. Raises ApplyError where a file cannot be put."""
    path = placement.path
    with telling("looking at", path):
        try:
            found = path.lstat()
        except FileNotFoundError:
            return Seen()
    if stat.S_ISLNK(found.st_mode):
        with telling("reading the link", path):
            text = str(path.readlink())
        try:
            behind = path.stat()
        except OSError:  # dangling
            return Seen(LINK, text)
        return Seen(LINK, text, False, *_rights(behind))
    if not stat.S_ISREG(found.st_mode):
        kind = "a directory" if stat.S_ISDIR(found.st_mode) else "no regular file"
        raise ApplyError(f"placing {path}: {kind} is there; move it away")
    return Seen(FILE, "", _same_content(path, found.st_size, placement.content), *_rights(found))


def judge(placement: Placement, seen: Seen) -> Change:
    """What is to be done about one placement."""
    if placement.absent:
        return Change(placement, UNCHANGED if seen.kind == ABSENT else REMOVED, seen)
    if seen.kind == ABSENT:
        return Change(placement, CREATED, seen)
    differs = _differences(Change(placement, CHANGED, seen))
    return Change(placement, CHANGED if differs else UNCHANGED, seen, differs)


def _differences(wanted: Change) -> tuple[str, ...]:
    seen = wanted.seen
    if wanted.placement.link:
        same = {"kind": seen.kind == LINK, "content": seen.text == wanted.placement.link}
    else:
        same = {
            "kind": seen.kind == FILE,
            "content": seen.same,
            "mode": seen.mode == wanted.mode,
            "owner": (seen.uid, seen.gid) == wanted.owner,
        }
    return tuple(name for name, holds in same.items() if not holds)


def _refuse_clashes(placements: tuple[Placement, ...]) -> None:
    """No path twice, and no file where another placement needs a directory."""
    seen: set[Path] = set()
    for placement in placements:
        if placement.path in seen:
            raise ApplyError(f"placing {placement.path}: it is declared twice; leave one")
        seen.add(placement.path)
    below = {placement.path.parent: placement.path for placement in placements if not placement.absent}
    for parent, path in below.items():
        for above in (parent, *parent.parents):
            if above in seen:
                raise ApplyError(f"placing {path}: {above} is declared as a file; rename one of them")


def _rights(found: os.stat_result) -> tuple[int | None, int | None, int | None]:
    if not stat.S_ISREG(found.st_mode):
        return (None, None, None)
    return (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def _same_content(path: Path, size: int, content: bytes | Path | None) -> bool:
    if content is None or size != (len(content) if isinstance(content, bytes) else content.stat().st_size):
        return False
    try:
        if isinstance(content, bytes):
            return path.read_bytes() == content
        with path.open("rb") as there, content.open("rb") as wanted:
            while chunk := there.read(CHUNK):
                if chunk != wanted.read(CHUNK):
                    return False
    except PermissionError:  # not ours to read: it may be ours to replace
        return False
    return True


@contextmanager
def telling(doing: str, path: Path) -> Iterator[None]:
    """What the operating system refuses below becomes an ApplyError."""
    try:
        yield
    except OSError as exc:
        raise ApplyError(f"{doing} {path}: {exc.strerror}; no file was changed") from exc
