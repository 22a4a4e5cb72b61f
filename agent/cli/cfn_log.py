"""What the cfn tools say: lines on stderr and in their old log file, which is root's alone and kept short."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from agent import masking

DIRECTORY = Path("/var/log")
LIMIT = 5 << 20


class Log:
    """Where one of the tools writes. Steps are told on stderr only when asked for, warnings and errors always."""

    def __init__(self, name: str, path: Path | None) -> None:
        self._name = name
        self._path = path
        self._all = False

    def tell_all(self, verbose: bool) -> None:
        self._all = self._all or verbose

    def tell(self, text: str) -> None:
        """A step that was done."""
        self._write("INFO", text, shown=self._all)

    def warn(self, text: str) -> None:
        self._write("WARNING", text, shown=True)

    def fail(self, text: str) -> None:
        self._write("ERROR", text, shown=True)

    def _write(self, level: str, text: str, *, shown: bool) -> None:
        safe = masking.text(text)
        if shown:
            print(f"{self._name}: {safe}", file=sys.stderr)
        if self._path is not None:
            with suppress(OSError):  # a log that cannot be written is no reason to leave the work undone
                _append(self._path, f"{time.strftime('%Y-%m-%d %H:%M:%S')} {level} {safe}\n")


Door: TypeAlias = Callable[[list[str], Log], int]


def opened(name: str) -> Log:
    """The log of a tool, in its old place for root, on stderr alone for others."""
    return Log(name, DIRECTORY / f"{name}.log" if os.geteuid() == 0 else None)


def _append(path: Path, text: str) -> None:
    with suppress(FileNotFoundError):
        found = path.lstat()
        if found.st_size > LIMIT:
            path.replace(path.with_name(f"{path.name}.1"))
        elif found.st_mode & 0o077:
            path.chmod(0o600, follow_symlinks=False) if path.is_symlink() else path.chmod(0o600)
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, text.encode("utf-8", "replace"))
    finally:
        os.close(fd)
