"""A guest with a user of its own, who can reach the tools wherever they are: all of it in a mount namespace.

Nothing of the machine changes. The namespace has its own /etc/passwd and /etc/group, and where a directory above a tool
is closed to other users (as /root is), an open one stands in its place that holds the tool and nothing else.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable
from pathlib import Path

NAME, UID, GID, FURTHER = "neighbour", 4321, 4322, 4323


def inside(directory: Path, needed: Iterable[Path]) -> list[str]:
    """The words to put before a command for it to run in such a guest; `directory` is for what it needs, kept open."""
    home = directory / "home"
    home.mkdir(mode=0o700)
    subprocess.run(["chown", f"{UID}:{GID}", home], check=True)
    (directory / "passwd").write_text(Path("/etc/passwd").read_text() + f"{NAME}:x:{UID}:{GID}::{home}:/bin/sh\n")
    (directory / "group").write_text(Path("/etc/group").read_text() + f"{NAME}:x:{GID}:\nfurther:x:{FURTHER}:{NAME}\n")
    script = directory / "inside"
    script.write_text("\n".join(["#!/bin/sh -e", *_mounts(directory, needed), 'exec "$@"', ""]))
    script.chmod(0o755)
    return ["unshare", "--mount", str(script)]


def possible() -> bool:
    """Whether we may mount in a namespace of our own."""
    return not subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode


def _mounts(directory: Path, needed: Iterable[Path]) -> list[str]:
    lines = [f"mount --bind {directory}/{name} /etc/{name}" for name in ("passwd", "group")]
    kept: dict[Path, list[Path]] = {}
    for path in needed:
        if closed := _closed(path):
            kept.setdefault(closed, []).append(path)
    for number, (closed, paths) in enumerate(kept.items()):
        aside = directory / f"aside-{number}"
        aside.mkdir()
        lines += [f"mount --rbind {shlex.quote(str(closed))} {aside}", f"mount -t tmpfs -o mode=0755 none {closed}"]
        for path in paths:
            words = shlex.quote(str(path)), shlex.quote(str(aside / path.relative_to(closed)))
            lines += [f"mkdir -p {words[0]}", f"mount --bind {words[1]} {words[0]}"]
    return lines


def _closed(path: Path) -> Path | None:
    """The first directory on the way to `path` that others may not enter."""
    return next((above for above in reversed(path.parents) if not above.stat().st_mode & 0o001), None)
