"""The shells and the formatter of manual pages that these tests use, fetched with apt-get once."""

import os
import shutil
import time

from tests.containers.install import PAUSE_S, TRIES, apt_get

# program -> the Debian package that brings it
PACKAGES = {"bash": "bash", "zsh": "zsh", "man": "man-db", "groff": "groff-base"}


def missing() -> list[str]:
    """The programs that are not on PATH."""
    return [program for program in PACKAGES if not shutil.which(program)]


def ensure() -> int:
    """Install what is missing; returns an exit status."""
    for _ in range(TRIES):
        packages = [PACKAGES[program] for program in missing()]
        if not packages:
            return 0
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            break
        if apt_get("update") and apt_get("install", "--yes", "--no-install-recommends", *packages) and not missing():
            return 0
        time.sleep(PAUSE_S)
    print(f"operator: not here: {', '.join(missing())}; as root on Debian: apt-get install {' '.join(packages)}")
    return 1
