"""The placer's acting half: all or nothing, and nothing that is as it should be is touched.

A file is written beside its target (never wider than its final mode, owner and mode set through the descriptor,
synced), shown to its validation command, and renamed over the target; a link there is replaced, not followed. When
anything fails, everything is put back: the very inode that was there, since a second link keeps it until the end.
Whatever kill -9 leaves beside a target is swept by the next run.
"""

from __future__ import annotations

import os
import re
import resource
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from agent.apply import validation
from agent.apply.place import ABSENT, CHUNK, UNCHANGED, Change, Placement, check, telling
from agent.errors import ApplyError

BATCH = 256  # new files that are synced in one pass, if we may have so many open
_OURS = re.compile(r"\.agent-(\d+)-([0-9a-f]{8})[0-9a-f]{8}\.tmp")


@dataclass(frozen=True, slots=True)
class Swap:
    """A path that gets something else: the second name of what was there, or the inode of what comes first there."""

    path: Path
    backup: Path | None = None
    inode: int = 0


def install(placements: Iterable[Placement]) -> tuple[Change, ...]:
    """Make the guest look like the placements, all or nothing; raises ApplyError when everything was put back."""
    with installing(placements) as changes:
        return changes


@contextmanager
def installing(placements: Iterable[Placement]) -> Iterator[tuple[Change, ...]]:
    """`install` as the first part of something larger: what the body raises puts everything back, too."""
    changes = check(placements)
    sweep(change.path.parent for change in changes)
    due = [change for change in changes if change.word != UNCHANGED]
    parents = sorted({change.path.parent for change in due})
    staged: list[Path] = []
    swaps: list[Swap] = []
    with ExitStack() as undo:  # emptied at the end: it runs only when something fails
        for parent in parents:
            _make_parents(parent, undo)
        undo.callback(_clear, staged)
        fresh = _stage(due, staged)
        for change in due:
            validation.accept(change, fresh.get(change.path))
        undo.callback(_put_back, swaps)
        for change in due:
            _swap(change, fresh.get(change.path), swaps)
        for parent in parents:
            sync(parent)
        yield changes
        undo.pop_all()
    _clear(swap.backup for swap in swaps if swap.backup)


# --------------------------------------------------------------------------------------------- the new files


def _stage(due: Sequence[Change], staged: list[Path]) -> dict[Path, Path]:
    """The new files beside their targets, complete and durable: path -> where its new file is.

    `staged` grows with each name before there is anything by it, so that whoever cleans up knows them all.
    """
    found: dict[Path, Path] = {}
    writing = [change for change in due if not change.placement.absent]
    batch = _batch()
    for first in range(0, len(writing), batch):
        with ExitStack() as opened:
            fds = []
            for change in writing[first : first + batch]:
                temporary = found[change.path] = beside(change.path)
                staged.append(temporary)
                with telling("writing", change.path):
                    if change.placement.link:
                        temporary.symlink_to(change.placement.link)
                    else:
                        fds.append((_write(change, temporary, opened), change.path))
            for fd, path in fds:  # one pass for all: the first sync takes most of what the others want along
                with telling("syncing", path):
                    os.fsync(fd)
    return found


def _batch() -> int:
    """How many files to hold open: a quarter of what this process may."""
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return BATCH if allowed == resource.RLIM_INFINITY else max(1, min(BATCH, allowed // 4))


def _write(change: Change, temporary: Path, opened: ExitStack) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(temporary, flags, 0o600 & change.mode)
    opened.callback(os.close, fd)
    content = change.placement.content
    if isinstance(content, Path):
        with content.open("rb") as source:
            while chunk := source.read(CHUNK):
                _fill(fd, chunk)
    else:
        _fill(fd, content or b"")
    _own(fd, change.owner)
    os.fchmod(fd, change.mode)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)  # begin to write it out while the next ones are made
    return fd


def _fill(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _own(fd: int, owner: tuple[int, int]) -> None:
    if owner == (-1, -1):
        return
    made = os.fstat(fd)
    if owner != (made.st_uid, made.st_gid):
        os.fchown(fd, *owner)


# ------------------------------------------------------------------------------------------------- the swap


def _swap(change: Change, temporary: Path | None, swaps: list[Swap]) -> None:
    """Put the new file in its place, or take the old one away. `swaps` knows of it before it happens."""
    path = change.path
    with telling("replacing", path):
        if change.seen.kind == ABSENT:
            assert temporary is not None
            swaps.append(Swap(path, inode=temporary.lstat().st_ino))
        else:
            backup = beside(path)
            swaps.append(Swap(path, backup))
            _second_link(path, backup)
        if temporary is None:
            path.unlink()
        else:
            temporary.rename(path)


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


# -------------------------------------------------------------------------------------------------- undoing


def _put_back(swaps: list[Swap]) -> None:
    for swap in reversed(swaps):
        quietly(partial(_restore, swap), swap.path)


def _restore(swap: Swap) -> None:
    with suppress(FileNotFoundError):  # it was not yet in its place, or has no second name yet
        if swap.backup is None:
            if swap.path.lstat().st_ino == swap.inode:
                swap.path.unlink()
            return
        swap.backup.rename(swap.path)
        swap.backup.unlink(missing_ok=True)  # two links of one file: the rename did nothing
        sync(swap.path.parent)


def _clear(paths: Iterable[Path]) -> None:
    for path in paths:
        quietly(partial(path.unlink, missing_ok=True), path)


def quietly(action: Callable[[], object], path: Path) -> None:
    """Clean up; what fails here is said, and hides no other error."""
    try:
        action()
    except (OSError, ApplyError) as exc:
        from agent import log  # noqa: PLC0415 - seldom; compiling what it masks costs 3 ms

        log.error("could not clean up after placing files", file=str(path), reason=str(exc))


# ---------------------------------------------------------------------------------------------- directories


def _make_parents(directory: Path, undo: ExitStack) -> None:
    """The directories above a target, with the caller's umask; those that were made go again when something fails."""
    missing: list[Path] = []
    above = directory
    with telling("making the directory", directory):
        while not above.is_dir():
            missing.append(above)
            above = above.parent
        for made in reversed(missing):
            made.mkdir()
            undo.callback(quietly, made.rmdir, made)
            sync(made.parent)


def sync(directory: Path) -> None:
    """Make durable which names a directory holds."""
    with telling("syncing", directory):
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


# --------------------------------------------------------------------------------------------- what is left


def beside(path: Path) -> Path:
    """A name in the same directory that nobody has, and that the next run sweeps."""
    return path.parent / f".agent-{os.getpid()}-{_session()}{os.urandom(4).hex()}.tmp"


def sweep(directories: Iterable[Path]) -> None:
    """Remove what a run that was killed has left in these directories."""
    for directory in sorted(set(directories)):
        try:
            names = os.listdir(directory)
        except OSError:  # not there yet, or not ours to list: then nothing of ours is in it
            continue
        for name in names:
            if (found := _OURS.fullmatch(name)) and not _lives(int(found[1]), found[2]):
                quietly(partial(remove, directory / name), directory / name)


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


@cache
def _session() -> str:
    """What tells this process from an earlier one with its id."""
    return os.urandom(4).hex()
