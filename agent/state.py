"""What must outlive us, on disk: files that `cat` shows, each written whole or not at all, and locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent import jsontext, log
from agent.errors import Busy, MetadataError, StateError

if TYPE_CHECKING:
    from agent.model import Json, JsonMap

LOCK_WAIT_S = 30.0
LOOKERS_S = 0.002  # between two tries while what keeps us from a lock is somebody who looks at it
LOOKS = 5000  # of them; a looker is gone after an instant, unless it is stopped just there


@dataclass(frozen=True, slots=True)
class Places:
    """Where the state of one agent lives."""

    state: Path
    deployed: Path

    @property
    def journal(self) -> Path:
        return self.state / "journal"

    @property
    def locks(self) -> Path:
        return self.state / "running"

    @property
    def documents(self) -> Path:
        return self.state / "documents"

    @property
    def agent_lock(self) -> Path:
        return self.state / "lock"

    @property
    def bulletin(self) -> Path:
        return self.state / "bulletin.json"

    @property
    def asked(self) -> Path:
        return self.state / "asked"

    def lock(self, key: str) -> Path:
        return self.locks / f"{key}.lock"

    def mark(self, key: str) -> Path:
        return self.deployed / f"{key}.json"

    def outcome(self, key: str) -> Path:
        return self.deployed / f"{key}.notify.json"


def write(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, mode 0600, durable on return; a reader sees the old file or the new one.

    Raises StateError when the disk is full, read-only or failing; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _directory(path.parent) as directory:
            fd = os.open(temporary.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                _write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary.name, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
    except OSError as exc:
        with suppress(OSError):  # the error that matters is the first one
            temporary.unlink()
        raise failure("writing", path, exc) from exc


def post(path: Path, data: bytes, mode: int = 0o600) -> bool:
    """Replace `path` by `data` for readers of today: whole or not at all, but not durable.

    Nothing depends on it, so no disk error matters; whether it was written is returned.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.fchmod(fd, mode)
            _write_all(fd, data)
        finally:
            os.close(fd)
        temporary.rename(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink()
        return False
    return True


def remove(path: Path) -> None:
    """Remove `path`, durably; it need not be there."""
    try:
        with suppress(FileNotFoundError):
            path.unlink()
            sync_directory(path.parent)
    except OSError as exc:
        raise failure("removing", path, exc) from exc


def sync_directory(path: Path) -> None:
    """What was renamed or removed in a directory is durable on return. Raises OSError."""
    with _directory(path) as directory:
        os.fsync(directory)


def make_directory(path: Path) -> None:
    """A directory for us alone (0700); parents that are missing are made 0755, existing ones are left as they are."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise failure("making the directory", path, exc) from exc


def failure(doing: str, path: Path, exc: OSError) -> StateError:
    advice = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "raise the quota",
        errno.EROFS: "mount it read-write",
        errno.EACCES: "run as root or give a --root of your own",
        errno.EPERM: "run as root or give a --root of your own",
    }.get(exc.errno or 0, "look at the disk")
    return StateError(f"{doing} {path}: {exc.strerror}; {advice}, no deployment is begun before that")


def move_aside(path: Path, why: str) -> None:
    """Put away a file of ours that cannot be read; it stops nothing."""
    log.error("unreadable state moved aside", file=str(path), reason=why, to=f"{path.name}.corrupt")
    with suppress(OSError):  # on a read-only disk it is looked at again each time
        path.rename(path.with_name(f"{path.name}.corrupt"))


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def dump(content: Mapping[str, Json], *, indent: int | None = None) -> bytes:
    return json.dumps(content, indent=indent).encode() + b"\n"


# ------------------------------------------------------------------------------------------------- locks


class Lock:
    """An exclusive flock(2) that lives as long as its descriptor, so the kernel drops it with its last holder."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def note(self, content: Mapping[str, Json]) -> None:
        """Tell readers who holds it. A convenience, so no disk error matters."""
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, dump(content), 0)

    def release(self) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd


def try_lock(path: Path) -> Lock | None:
    """The lock, or None when somebody holds it. Raises StateError when the file cannot be made.

    Who only looks (`held`) is waited for, however slow this machine is: it has a share, which leaves room for another.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise failure("locking", path, exc) from exc
    for _ in range(LOOKS):
        if _flock(fd, fcntl.LOCK_EX):
            return Lock(path, fd)
        if not _flock(fd, fcntl.LOCK_SH):
            break
        fcntl.flock(fd, fcntl.LOCK_UN)
        time.sleep(LOOKERS_S)
    os.close(fd)
    return None


def _flock(fd: int, kind: int) -> bool:
    """Take a lock of this kind if that needs no waiting; whether it was taken."""
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def held(path: Path) -> bool:
    """Whether somebody holds the lock. Who looks has a share of it for that instant, see `try_lock`."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise failure("looking at the lock", path, exc) from exc
    try:
        return not _flock(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)


def lock(path: Path, who: str, *, wait_s: float = LOCK_WAIT_S, sleep: Callable[[float], None] = time.sleep) -> Lock:
    """The lock of the state directory, for one agent at a time; raises Busy after `wait_s`, saying who holds it."""
    deadline = time.monotonic() + wait_s
    make_directory(path.parent)
    while (held := try_lock(path)) is None:
        if time.monotonic() >= deadline:
            holder = holder_of(path)
            raise Busy(
                f"waiting {wait_s:.0f} s for {path}: {holder.get('who', 'another process')} "
                f"(pid {holder.get('pid', 'unknown')}) holds it; stop that one, or wait for it"
            )
        sleep(0.1)
    held.note({"pid": os.getpid(), "who": who})
    return held


def holder_of(path: Path) -> JsonMap:
    """What the holder of a lock wrote into it, {} when there is nothing to read."""
    try:
        return jsontext.decode_map(path.read_bytes(), str(path))
    except (OSError, MetadataError):
        return {}
