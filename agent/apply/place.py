"""The one placer of files: look at everything, judge everything, and only then touch anything.

A file is written beside its target (never wider than its final mode, owner and mode set through the descriptor,
synced) and renamed over it; a link at the target is replaced, not followed. What is as it should be is not touched.
When anything fails, everything is put back: the very inode that was there, since a second link keeps it until the end.
Whatever kill -9 leaves beside a target is swept by the next run.
"""

from __future__ import annotations

import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from agent import log
from agent.errors import ApplyError

CREATED, CHANGED, REMOVED, UNCHANGED = "created", "changed", "removed", "unchanged"
NEW_MODE = 0o644

ABSENT, FILE, LINK = "absent", "file", "link"
_OURS = re.compile(r"\.agent-(\d+)-([0-9a-f]{8})[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, slots=True)
class Placement:
    """One declared file. `content` None means that nothing shall be at the path; a `link` is one with that text.

    A mode or owner of None is kept from what is there; a new file gets 0644 and whoever writes it.
    """

    path: Path
    content: bytes | None = field(default=b"", repr=False)
    link: str = ""
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    secret: bool = False


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


def check(placements: Iterable[Placement]) -> tuple[Change, ...]:
    """What `install` would do, in the same order; all `unchanged` exactly when it would touch nothing.

    Raises ApplyError for what cannot be applied at all.
    """
    listed = tuple(placements)
    _refuse_clashes(listed)
    return tuple(judge(placement, look(placement)) for placement in listed)


def install(placements: Iterable[Placement]) -> tuple[Change, ...]:
    """Make the guest look like the placements, all or nothing; raises ApplyError when everything was put back."""
    with installing(placements) as changes:
        return changes


@contextmanager
def installing(placements: Iterable[Placement]) -> Iterator[tuple[Change, ...]]:
    """`install` as the first part of something larger: what the body raises puts everything back, too."""
    changes = check(placements)
    due = [change for change in changes if change.word != UNCHANGED]
    parents = sorted({change.path.parent for change in due})
    with ExitStack() as undo:  # emptied at the end: it runs only when something fails
        for parent in parents:
            _make_parents(parent, undo)
            _sweep(parent)
        staged = [_stage(change, undo) for change in due]
        kept = [_swap(change, temporary, undo) for change, temporary in zip(due, staged, strict=True)]
        for parent in parents:
            sync(parent)
        yield changes
        undo.pop_all()
    for backup in kept:
        _quietly(backup.unlink, backup) if backup else None


# ------------------------------------------------------------------------------------------ look and judge


def look(placement: Placement) -> Seen:
    """What is at the path now. Raises ApplyError where a file cannot be put."""
    path = placement.path
    with _telling("looking at", path):
        try:
            found = path.lstat()
        except FileNotFoundError:
            return Seen()
    if stat.S_ISLNK(found.st_mode):
        with _telling("reading the link", path):
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
    if placement.content is None and not placement.link:
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
    for placement in placements:
        if placement.content is None and not placement.link:
            continue
        for above in placement.path.parents:
            if above in seen:
                raise ApplyError(f"placing {placement.path}: {above} is declared as a file; rename one of them")


def _rights(found: os.stat_result) -> tuple[int | None, int | None, int | None]:
    if not stat.S_ISREG(found.st_mode):
        return (None, None, None)
    return (stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid)


def _same_content(path: Path, size: int, content: bytes | None) -> bool:
    if content is None or size != len(content):
        return False
    try:
        return path.read_bytes() == content
    except PermissionError:  # not ours to read: it may be ours to replace
        return False


# ----------------------------------------------------------------------------------------------------- act


def _stage(change: Change, undo: ExitStack) -> Path | None:
    """The new file beside its target, complete and durable; None where the file is to go."""
    placement = change.placement
    if placement.content is None and not placement.link:
        return None
    temporary = beside(change.path)
    undo.callback(_quietly, partial(temporary.unlink, missing_ok=True), temporary)
    with _telling("writing", change.path):
        if placement.link:
            temporary.symlink_to(placement.link)
            return temporary
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(temporary, flags, 0o600 & change.mode)
        try:
            _fill(fd, placement.content or b"")
            _own(fd, change.owner)
            os.fchmod(fd, change.mode)
            os.fsync(fd)
        finally:
            os.close(fd)
    return temporary


def _fill(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _own(fd: int, owner: tuple[int, int]) -> None:
    made = os.fstat(fd)
    if owner not in {(-1, -1), (made.st_uid, made.st_gid)}:
        os.fchown(fd, *owner)


def _swap(change: Change, temporary: Path | None, undo: ExitStack) -> Path | None:
    """Put the staged file in its place, or take the old one away; returns the second link to the old one."""
    path = change.path
    backup = None
    with _telling("replacing", path):
        if change.seen.kind == ABSENT:
            assert temporary is not None
            undo.callback(_quietly, partial(_take_away, path, temporary.lstat().st_ino), path)
        else:
            backup = beside(path)
            _second_link(path, backup)
            undo.callback(_quietly, partial(_put_back, backup, path), path)
        if temporary is None:
            path.unlink()
        else:
            temporary.rename(path)
    return backup


def _second_link(path: Path, backup: Path) -> None:
    """The old file under a second name; a copy where the file system or kernel refuses links."""
    try:
        os.link(path, backup, follow_symlinks=False)
    except OSError:
        if path.is_symlink():
            backup.symlink_to(path.readlink())
            return
        found = path.stat()
        fd = os.open(backup, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600 & found.st_mode)
        try:
            _fill(fd, path.read_bytes())
            _own(fd, (found.st_uid, found.st_gid))
            os.fchmod(fd, stat.S_IMODE(found.st_mode))
        finally:
            os.close(fd)


def _put_back(backup: Path, path: Path) -> None:
    backup.rename(path)
    backup.unlink(missing_ok=True)  # two links of one file: the rename did nothing
    sync(path.parent)


def _take_away(path: Path, inode: int) -> None:
    with suppress(FileNotFoundError):  # it was not yet in its place
        if path.lstat().st_ino == inode:
            path.unlink()


def _make_parents(directory: Path, undo: ExitStack) -> None:
    """The directories above a target, with the caller's umask; those that were made go again when something fails."""
    missing: list[Path] = []
    above = directory
    with _telling("making the directory", directory):
        while not above.is_dir():
            missing.append(above)
            above = above.parent
        for made in reversed(missing):
            made.mkdir()
            undo.callback(_quietly, made.rmdir, made)
            sync(made.parent)


def _sweep(directory: Path) -> None:
    """Remove what a run that was killed has left here."""
    with _telling("listing", directory):
        names = os.listdir(directory)
    for name in names:
        if (found := _OURS.fullmatch(name)) and not _lives(int(found[1]), found[2]):
            _quietly(partial(remove, directory / name), directory / name)


def _lives(pid: int, session: str) -> bool:
    if pid == os.getpid():  # else an earlier process with our id: in a container they repeat
        return session == _session()
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True


def beside(path: Path) -> Path:
    """A name in the same directory that nobody has, and that the next run sweeps."""
    return path.with_name(f".agent-{os.getpid()}-{_session()}{os.urandom(4).hex()}.tmp")


@cache
def _session() -> str:
    """What tells this process from an earlier one with its id."""
    return os.urandom(4).hex()


def sync(directory: Path) -> None:
    """Make durable which names a directory holds."""
    with _telling("syncing", directory):
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def remove(path: Path) -> None:
    """A file, a link, or a directory with all that is in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _quietly(action: Callable[[], object], path: Path) -> None:
    """Clean up; what fails here is said, and hides no other error."""
    try:
        action()
    except (OSError, ApplyError) as exc:
        log.error("could not clean up after placing files", file=str(path), reason=str(exc))


@contextmanager
def _telling(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ApplyError(f"{doing} {path}: {exc.strerror}; no file was changed") from exc
