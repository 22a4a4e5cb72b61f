"""The root file system that guests boot: Debian with systemd and the packages that the agent imports, made once."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

SUITE = "bookworm"
# systemd and what it needs to be a machine; then the agent's dependencies, as the distribution has them.
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "procps", "iproute2", "ca-certificates"),
    *("python3", "python3-requests", "python3-yaml", "python3-structlog"),
    *("python3-dbus-next", "python3-dbus-fast", "python3-jinja2"),
)
TOOLS = {"mmdebstrap": "mmdebstrap", "ip": "iproute2", "setpriv": "util-linux"}
RECIPE = "1"  # raise it when this file changes what a root holds
TRIES = 3
PAUSE_S = 10.0
APT_TIMEOUT_S = 900


def root(packages: Sequence[str] = PACKAGES) -> Path:
    """Where the root with these packages is kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    wanted = "\n".join([RECIPE, SUITE, *packages])
    return Path(home) / "os-deploy-agent" / f"guest-{hashlib.sha256(wanted.encode()).hexdigest()[:16]}" / "root"


def installed(packages: Sequence[str] = PACKAGES) -> bool:
    return root(packages).is_dir() and not missing()


def missing() -> list[str]:
    """The programs of this machine that are needed and not on PATH."""
    return [program for program in TOOLS if not shutil.which(program)]


def ensure(packages: Sequence[str] = PACKAGES) -> int:
    """Make the root unless it is there; returns an exit status."""
    if installed(packages):
        say(f"here already: {root(packages)}")
        return 0
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        say("a guest is made on Debian as root")
        return 1
    directory = root(packages).parent
    directory.mkdir(parents=True, exist_ok=True)
    with directory.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # a waiter is bounded by the holder: every step of it is
        return 0 if installed(packages) or any(attempt(packages, number) for number in range(1, TRIES + 1)) else 1


def attempt(packages: Sequence[str], number: int) -> bool:
    say(f"making {root(packages)} with {len(packages)} packages, try {number} of {TRIES}")
    began = time.monotonic()
    done = install_tools() and (root(packages).is_dir() or make(packages))
    if not done and number < TRIES:
        time.sleep(PAUSE_S)
    if done:
        say(f"made after {time.monotonic() - began:.0f} s")
    return done


def install_tools() -> bool:
    lacking = [TOOLS[program] for program in missing()]
    return not lacking or (
        run(["apt-get", "--quiet", "update"])
        and run(["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", *lacking])
    )


def make(packages: Sequence[str]) -> bool:
    """Fill the root beside its place and move it there, so that half of one is never taken for the whole."""
    half = root(packages).with_name("half")
    shutil.rmtree(half, ignore_errors=True)
    left_out = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in ("man", "locale", "doc")]
    options = ["--quiet", "--variant=minbase", "--format=directory", f"--include={','.join(packages)}", *left_out]
    if not run(["mmdebstrap", *options, SUITE, str(half), "-"], sources()):
        return False
    for place in ("etc/fstab", "etc/machine-id", "etc/resolv.conf"):  # no disk, an identity for each, no name server
        (half / place).unlink(missing_ok=True)
        (half / place).touch()
    half.rename(root(packages))
    return True


def sources() -> str:
    """The lines of sources.list that apt uses here for the suite."""
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    lines = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
    ours = sorted({line for line in lines if line.split()[1].partition("-")[0] == SUITE})
    return "".join(f"deb {line}\n" for line in ours)


def run(command: list[str], given: str = "") -> bool:
    """Run a tool of the distribution, its words on stderr; whether it ended well and in time."""
    environment = {"PATH": os.environ["PATH"], "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, env=environment, input=given, text=True, stdout=sys.stderr, timeout=APT_TIMEOUT_S
        )
    except subprocess.TimeoutExpired:
        say(f"{command[0]} took more than {APT_TIMEOUT_S} s")
        return False
    return done.returncode == 0


def say(text: str) -> None:
    print(f"guest: {text}", file=sys.stderr, flush=True)
