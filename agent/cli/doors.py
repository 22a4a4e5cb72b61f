"""`agent doors install DIR`: links of the old command names to this program, which looks at the name it goes by."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from agent.cli import main
from agent.errors import StateError, UsageError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("install", "remove"))
    parser.add_argument("directory", metavar="DIR", type=Path, help="for example /usr/local/bin")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"default: all ({' '.join(main.DOORS)})")
    parser.add_argument("--force", action="store_true", help="replace files that are not our own links")


def run(arguments: argparse.Namespace) -> int:
    names = arguments.names or list(main.DOORS)
    unknown = [name for name in names if name not in main.DOORS]
    if unknown:
        raise UsageError(f"no such door: {', '.join(unknown)}; known: {', '.join(main.DOORS)}")
    directory, program = arguments.directory.absolute(), our_program()
    paths = [directory / name for name in names]
    try:
        if arguments.action == "remove":
            for path in paths:
                if _is_ours(path, program):
                    path.unlink()
            return 0
        directory.mkdir(parents=True, exist_ok=True)
        taken = [str(p) for p in paths if os.path.lexists(p) and not _is_ours(p, program)]
        if taken and not arguments.force:
            raise UsageError(f"installing doors: {', '.join(taken)} exist and are not ours; move them or give --force")
        for path in paths:
            _link(path, program)
    except OSError as exc:
        raise StateError(f"{arguments.action} of doors in {directory}: {exc.strerror}") from exc
    return 0


def our_program() -> Path:
    """The program that is running, as an absolute path that a link can name."""
    called = Path(sys.argv[0]).absolute()
    program = called.resolve() if called.is_symlink() else called
    if not os.access(program, os.X_OK):
        raise UsageError(f"links need a program to name, {program} is none; call the agent by its installed name")
    return program


def _is_ours(path: Path, program: Path) -> bool:
    return path.is_symlink() and Path(os.path.realpath(path)) == Path(os.path.realpath(program))


def _link(path: Path, program: Path) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.symlink_to(program)
    temporary.replace(path)
