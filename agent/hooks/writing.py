"""Files that hooks write: whole or not at all, and never wider than asked."""

from __future__ import annotations

import errno
import json
import os
import stat
from contextlib import suppress
from pathlib import Path

from agent.model import Deployment, Json, Outcome


def write_file(
    path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None, *, durable: bool = False
) -> None:
    """A file of exactly `data`, never wider than `mode`, whatever was at `path`. Raises OSError.

    Durable is for what must be there after a crash although the deployment will not be run again.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            if owner:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(fd)
        temporary.rename(path)
        if durable:
            _sync_directory(path.parent)
    except OSError:
        with suppress(OSError):  # the error that matters is the first one
            temporary.unlink()
        raise


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes) -> None:
    """A file of exactly `data`: a new one is 0600, one that is there keeps its mode and owner. Raises OSError."""
    try:
        path = path.resolve(strict=True)  # a link stays a link
        known = path.stat()
    except FileNotFoundError:
        return write_file(path, data, 0o600, durable=True)
    if stat.S_ISDIR(known.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return write_file(path, data, stat.S_IMODE(known.st_mode), (known.st_uid, known.st_gid), durable=True)


def make_directories(path: Path) -> None:
    """A directory, 0700 when it is new; missing parents are made as usual. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def not_written(deployment: Deployment, path: Path, exc: OSError) -> Outcome:
    """The outcome when a file that the config asks for cannot be written."""
    reason = exc.strerror or str(exc)
    message = f"{deployment.group} for '{deployment.name}' could not write {path}: {reason}; what is in the way?\n"
    return Outcome(1, "", message)


def as_json(value: Json) -> bytes:
    """A value as the old hooks wrote it into files."""
    return json.dumps(value, indent=4, sort_keys=True).encode()
