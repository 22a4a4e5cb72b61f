"""The lab's virtual environment: built once per lock and Python, then shared by every lab of the user."""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.lab.errors import LabError

LOCK = Path(__file__).parents[2] / ".ci" / "locks" / "heat.txt"
INSTALL_TIMEOUT_S = 1200
STAMP = "complete"
OLDEST = (3, 11)


def say(text: str) -> None:
    """Progress, on stderr: stdout belongs to the caller."""
    print(f"lab: {text}", file=sys.stderr, flush=True)


def cache_directory() -> Path:
    """Where environments are kept; the name changes with the lock and with Python."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    wanted = LOCK.read_bytes() + platform.python_version().encode() + platform.machine().encode()
    return home / "os-deploy-agent" / f"heat-{hashlib.sha256(wanted).hexdigest()[:16]}"


def installed() -> Path | None:
    """The finished environment, or None."""
    venv = cache_directory() / "venv"
    return venv if (cache_directory() / STAMP).exists() and (venv / "bin" / "python").exists() else None


def install() -> Path:
    """The environment, built now unless it stands already."""
    if venv := installed():
        return venv
    if sys.version_info < OLDEST:
        raise LabError("Heat 27 needs Python 3.11 or newer; run this with such a one")
    with only_one(cache_directory()):
        return installed() or build(cache_directory())


def build(directory: Path) -> Path:
    """Make the environment; the stamp comes last, so that half of one is never taken for the whole."""
    began = time.monotonic()
    venv = directory / "venv"
    say(f"installing Keystone, Heat, Swift and Zaqar into {venv} (a minute or two, once)")
    shutil.rmtree(venv, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(venv)], directory / "install.log")
    # The lock names every package, so there is nothing to resolve: --no-deps.
    pip = [str(venv / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check", "--no-input"]
    run([*pip, "--no-deps", "--require-hashes", "--requirement", str(LOCK)], directory / "install.log")
    (directory / STAMP).touch()
    say(f"installed in {time.monotonic() - began:.0f} s")
    return venv


def run(argv: list[str], log: Path) -> None:
    """Run one step, its words kept in a log and shown when it fails."""
    step = " ".join(argv[1:4])
    with log.open("a") as out:
        try:
            done = subprocess.run(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=INSTALL_TIMEOUT_S,
            )
        except subprocess.TimeoutExpired as exc:
            raise LabError(f"'{step}' took more than {INSTALL_TIMEOUT_S} s; see {log}") from exc
    if done.returncode:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-5:])
        raise LabError(f"'{step}' failed with status {done.returncode}; see {log}\n{tail}")


@contextlib.contextmanager
def only_one(directory: Path) -> Iterator[None]:
    """Hold the directory's lock; the kernel drops it when this process ends, however it ends."""
    directory.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + INSTALL_TIMEOUT_S
    told = False
    with (directory / "lock").open("w") as handle:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise LabError(f"another process installs into {directory} for too long") from None
            if not told:
                say(f"waiting for another installation into {directory}")
                told = True
            time.sleep(0.5)
        yield
