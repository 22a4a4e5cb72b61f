"""Whether a file is its owner's alone: what others may write, they may replace by what they like."""

from __future__ import annotations

import os
import stat
from pathlib import Path

LONGEST = 1000  # places on the way to a file, links that lead in a circle included


def writable_by_others(path: Path) -> str:
    """Who else may write `path` or replace it, as a sentence; "" when only root and we ourselves can.

    Looks at every directory and link on the way, and at what links lead to. A sticky directory (/tmp) is fine as an
    ancestor. Raises OSError when the path cannot be looked at.
    """
    real = Path(os.path.realpath(path, strict=True))
    for place in _on_the_way(path.absolute()):
        if fault := _fault(place, above=not place.is_symlink() and not place.samefile(real)):
            return fault
    return ""


def tree_writable_by_others(root: Path) -> str:
    """The same for a directory and all that is below it; "" also where there is none. Raises OSError."""
    if not root.is_dir():
        return ""
    if fault := writable_by_others(root):
        return fault
    for directory, names, files in os.walk(root):
        for path in (Path(directory, name) for name in sorted([*names, *files])):
            if path.is_symlink():
                fault = writable_by_others(path) if path.exists() else ""  # a link to nothing is nobody's file
            else:
                fault = _fault(path, above=False)
            if fault:
                return fault
    return ""


def _on_the_way(path: Path) -> tuple[Path, ...]:
    """The path, what links on it lead to, and every directory above all of these."""
    found: dict[Path, None] = {}
    left = [path]
    while left and len(found) < LONGEST:
        for place in (path := left.pop(), *path.parents):
            if place in found:
                continue
            found[place] = None
            if place.is_symlink():
                left.append(place.parent / place.readlink())
    return tuple(found)


def _fault(place: Path, *, above: bool) -> str:
    """What is wrong with one place; `above` for a directory that only leads to the file."""
    found = place.lstat()
    if found.st_uid not in (0, os.geteuid()):
        return f"{place} belongs to uid {found.st_uid}; chown it to root"
    if stat.S_ISLNK(found.st_mode):
        return ""
    if stat.S_IMODE(found.st_mode) & _writable(found) and not (above and found.st_mode & stat.S_ISVTX):
        return f"{place} may be written by others (mode {stat.S_IMODE(found.st_mode):04o}); chmod go-w {place}"
    return ""


def _writable(found: os.stat_result) -> int:
    """The bits that give others the right to write; a group of root's or our own is not others."""
    return stat.S_IWOTH if found.st_gid in (0, os.getegid()) else stat.S_IWOTH | stat.S_IWGRP
