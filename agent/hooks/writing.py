"""Files that hooks write: whole or not at all, and never wider than asked."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from agent import state
from agent.apply.install import install
from agent.apply.place import Placement, check
from agent.errors import ApplyError
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
            state.sync_directory(path.parent)
    except OSError:
        with suppress(OSError):  # the error that matters is the first one
            temporary.unlink()
        raise


def place(files: Mapping[Path, bytes], mode: int | None = None) -> None:
    """All of these files or none, by the placer; last directories that are new get 0700. Raises OSError, ApplyError.

    Without a mode a new file gets 0600, and one that is there keeps its mode and owner. A link stays a link: what it
    leads to is the file.
    """
    wanted = placements(files, mode)
    check(wanted)
    for placement in wanted:
        make_directories(placement.path.parent)
    install(wanted)


def placements(files: Mapping[Path, bytes], mode: int | None = None) -> tuple[Placement, ...]:
    """What `place` has the placer do."""
    found = {Path(os.path.realpath(path)): content for path, content in files.items()}
    modes = {path: mode if mode is not None or path.exists() else 0o600 for path in found}
    return tuple(Placement(path, content, mode=modes[path]) for path, content in found.items())


def make_directories(path: Path) -> None:
    """A directory, 0700 when it is new; missing parents are made as usual. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def not_placed(deployment: Deployment, exc: OSError | ApplyError) -> Outcome:
    """The outcome when the files that the config asks for cannot be placed."""
    reason = f"{exc.filename}: {exc.strerror}" if isinstance(exc, OSError) else str(exc)
    return Outcome(1, "", f"{deployment.group} for '{deployment.name}' could not write its files: {reason}\n")


def not_written(deployment: Deployment, path: Path, exc: OSError) -> Outcome:
    """The outcome when a file that the config asks for cannot be written."""
    reason = exc.strerror or str(exc)
    message = f"{deployment.group} for '{deployment.name}' could not write {path}: {reason}; what is in the way?\n"
    return Outcome(1, "", message)


def as_json(value: Json) -> bytes:
    """A value as the old hooks wrote it into files."""
    return json.dumps(value, indent=4, sort_keys=True).encode()
