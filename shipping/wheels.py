"""The wheelhouse: the agent's own wheel beside every wheel that its lock names, for one Python on one architecture."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

from shipping import cache
from shipping.cache import CHECKOUT

LOCK = CHECKOUT / ".ci/locks/run.txt"
PYTHON = "3.11"  # what Debian 12 has
GLIBC = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")
EXTRAS = "crypto,dbus,templates,zaqar-ws"
RECIPE = "1"  # raise it when this file changes what a wheelhouse holds
TRIES = 3
FETCH_S = 600


def wheelhouse(python: str = PYTHON) -> Path:
    """The directory of wheels from which `pip install --no-index --find-links` installs the agent on `python`."""
    name = cache.digest(RECIPE, cache.content(), LOCK.read_bytes(), python, platform.machine())

    def make(half: Path) -> None:
        for wheel in _locked(python).glob("*.whl"):
            shutil.copy(wheel, half)
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(half)],
            cwd=CHECKOUT,
            stdout=sys.stderr,
            check=True,
            timeout=FETCH_S,
        )

    return cache.once(f"wheels-{name}", make)


def _locked(python: str) -> Path:
    """What the lock names, fetched once; every file has the hash that the lock gives it."""

    def make(half: Path) -> None:
        for number in range(1, TRIES + 1):
            print(f"wheels: fetching what {LOCK.name} names, try {number} of {TRIES}", file=sys.stderr)
            if _fetch(half, python):
                return
        raise SystemExit(f"wheels: {LOCK.name} could not be fetched for Python {python}; see pip's words above")

    return cache.once(f"locked-{cache.digest(RECIPE, LOCK.read_bytes(), python, platform.machine())}", make)


def _fetch(directory: Path, python: str) -> bool:
    platforms = [f"--platform={name}_{platform.machine()}" for name in GLIBC]
    command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input"]
    command += ["--require-hashes", "--no-deps", "--only-binary=:all:", f"--python-version={python}", *platforms]
    done = subprocess.run(
        [*command, "--dest", str(directory), "--requirement", str(LOCK)], stdout=sys.stderr, timeout=FETCH_S
    )
    return done.returncode == 0
