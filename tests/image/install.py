"""A root file system with cloud-init, the wheels of the agent, and an image built from both without a network."""

import shutil
import subprocess
import sys
from pathlib import Path

from shipping import cache, deb, image, wheels
from shipping.image import Plan
from tests.guest import install as guest

# Debian as a cloud has it: nothing of what the agent needs but Python.
PACKAGES = (
    *("systemd", "systemd-sysv", "dbus", "udev", "iproute2", "ca-certificates"),
    *("python3", "python3-venv", "python3-yaml", "cloud-init", "netcat-openbsd"),
)
THEIRS = Path(__file__).with_name("elements")
MADE_BY = ("dib-elements", "shipping/elements", "shipping/image.py", "tests/image/elements")
RECIPE = "1"  # raise it when this file changes what an image holds


def root() -> Path:
    """The root file system without the agent."""
    return guest.root(PACKAGES)


def name() -> str:
    """An image's name changes with all that it is made of."""
    parts = (root().parent.name, wheels.wheelhouse().name, image.LOCK.read_bytes())
    return f"image-{cache.digest(RECIPE, cache.content(MADE_BY), *parts)}"


def built() -> Path:
    """The image's root, built when it is not there. Raises CannotBuild."""

    def make(half: Path) -> None:
        scratch = half / "build"
        paths = (*image.ELEMENTS, THEIRS)
        given = (("DIB_ROOT_DIRECTORY", str(root())), ("ELEMENTS_PATH", ":".join(map(str, paths))))
        plan = Plan(scratch, (*image.DEFAULT, "theirs"), variables=given)
        image.build(plan)
        for place in ("dev", "proc", "run", "sys", "tmp"):  # which diskimage-builder leaves out
            (half / "root" / place).mkdir(parents=True)
        archive = scratch / "os-deploy-agent.tar"
        subprocess.run(["tar", "--numeric-owner", "-C", half / "root", "-xpf", archive], check=True, timeout=300)
        (half / "root/lost+found").rmdir()
        shutil.move(plan.log, half / "build.log")
        shutil.rmtree(scratch)

    return cache.once(name(), make) / "root"


def lacking() -> list[str]:
    """The programs that building an image needs and this machine has not."""
    return [program for program in image.TOOLS if not shutil.which(program)]


def say_root() -> int:
    """Make the root file system and print where it is; returns an exit status."""
    status = guest.ensure(PACKAGES) or install_tools()
    print("" if status else root())
    return status


def ensure() -> int:
    """Make all of it; returns an exit status."""
    if guest.ensure(PACKAGES) or install_tools():
        return 1
    print(f"image: {built()}, {deb.package()}", file=sys.stderr)
    return 0


def install_tools() -> int:
    """Install the programs that building an image needs; returns an exit status."""
    packages = [image.TOOLS[program] for program in lacking()]
    if packages and not (
        guest.run(["apt-get", "--quiet", "update"])
        and guest.run(["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", *packages])
    ):
        return 1
    image.builder()
    return 0
