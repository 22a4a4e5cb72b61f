"""Whether a file is its owner's alone: what others may write, they may replace by what they like."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def writable_by_others(path: Path) -> str:
    """Who else may write `path` or replace it, as a sentence; "" when only root and we ourselves can.

    Looks at the file that links lead to and at every directory above it. A sticky directory (/tmp) is fine as an
    ancestor. Raises OSError when the path cannot be looked at.
    """
    real = Path(os.path.realpath(path, strict=True))
    for place in (real, *real.parents):
        found = place.stat()
        above = place != real
        if found.st_uid not in (0, os.geteuid()):
            return f"{place} belongs to uid {found.st_uid}; chown it to root"
        if stat.S_IMODE(found.st_mode) & _writable(found) and not (above and found.st_mode & stat.S_ISVTX):
            return f"{place} may be written by others (mode {stat.S_IMODE(found.st_mode):04o}); chmod go-w {place}"
    return ""


def _writable(found: os.stat_result) -> int:
    """The bits that give others the right to write; a group of root's or our own is not others."""
    return stat.S_IWOTH if found.st_gid in (0, os.getegid()) else stat.S_IWOTH | stat.S_IWGRP
