"""The programs that these tests need, fetched with apt-get once; a machine that has them is left alone."""

import os
import shutil
import subprocess
import sys
import time

# program -> the Debian package that brings it
PACKAGES = {
    "podman": "podman",
    "runc": "runc",
    "docker": "docker.io",
    "docker-compose": "docker-compose",
    "busybox": "busybox-static",
}
TRIES = 3
PAUSE_S = 10.0
APT_TIMEOUT_S = 600


def missing() -> list[str]:
    """The programs that are not on PATH."""
    return [program for program in PACKAGES if not shutil.which(program)]


def ensure() -> int:
    """Install what is missing; returns an exit status."""
    lacking = missing()
    if not lacking:
        say(f"here already: {', '.join(PACKAGES)}")
        return 0
    packages = [PACKAGES[program] for program in lacking]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        say(f"not here: {', '.join(lacking)}; as root on Debian: apt-get install {' '.join(packages)}")
        return 1
    for number in range(1, TRIES + 1):
        say(f"installing {' '.join(packages)}, try {number} of {TRIES}")
        if apt_get("update") and apt_get("install", "--yes", "--no-install-recommends", *packages) and not missing():
            say("installed")
            return 0
        time.sleep(PAUSE_S if number < TRIES else 0)
    say(f"still not here: {', '.join(missing())}; see apt-get's words above")
    return 1


def apt_get(*words: str) -> bool:
    environment = {"PATH": os.environ["PATH"], "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    command = ["apt-get", "--quiet", *words]
    try:
        done = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=sys.stderr, timeout=APT_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        say(f"apt-get {words[0]} took more than {APT_TIMEOUT_S} s")
        return False
    return done.returncode == 0


def say(text: str) -> None:
    print(f"containers: {text}", file=sys.stderr, flush=True)
