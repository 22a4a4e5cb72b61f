"""Images: diskimage-builder with the elements of this repository, and a look at what it would do."""

from __future__ import annotations

import functools
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from shipping import cache, wheels
from shipping.cache import CHECKOUT

LOCK = CHECKOUT / ".ci/locks/image.txt"
ELEMENTS = (CHECKOUT / "dib-elements", CHECKOUT / "shipping/elements")
OFFLINE = "directory-root"  # the element that needs no network
DEFAULT = (OFFLINE, "os-deploy-agent", "os-deploy-agent-compat")
BUILD_S = 1800
TOOLS = {  # program -> the Debian package that brings it
    "debootstrap": "debootstrap",
    "file": "file",
    "kpartx": "kpartx",
    "mkfs.ext4": "e2fsprogs",
    "ps": "procps",
    "qemu-img": "qemu-utils",
    "rsync": "rsync",
    "sudo": "sudo",
    "uuidgen": "uuid-runtime",
}


class CannotBuild(Exception):
    """Why there is no image, and what to do."""


@dataclass(frozen=True)
class Plan:
    """What to build: `elements` in the order of diskimage-builder's arguments, `formats` as its -t takes them."""

    out: Path
    elements: tuple[str, ...] = DEFAULT
    formats: str = "tar"
    variables: tuple[tuple[str, str], ...] = ()

    @property
    def log(self) -> Path:
        return self.out / "build.log"


def build(plan: Plan) -> Path:
    """Build the image; returns the directory it is in. Raises CannotBuild."""
    lacking = [TOOLS[name] for name in TOOLS if not shutil.which(name)]
    if os.geteuid() != 0:
        raise CannotBuild("building an image: diskimage-builder mounts and changes roots; run it as root")
    if lacking:
        raise CannotBuild(f"building an image: apt-get install --no-install-recommends {' '.join(lacking)}")
    if CHECKOUT in plan.out.resolve().parents:
        raise CannotBuild(f"building an image: {plan.out} is inside the checkout; name another BUILD directory")
    plan.out.mkdir(parents=True, exist_ok=True)
    offline = OFFLINE in plan.elements
    command = [str(builder() / "disk-image-create"), "-a", architecture(), "-t", plan.formats]
    command += ["-o", str(plan.out / "os-deploy-agent"), *(["-n", "--offline"] if offline else []), *plan.elements]
    with plan.log.open("wb") as log:
        done = subprocess.run(
            [*(["unshare", "--net"] if offline else []), *command],
            env=environment(plan),
            cwd=plan.out,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            timeout=BUILD_S,
        )
    if done.returncode:
        raise CannotBuild(f"building an image: diskimage-builder ended with {done.returncode}; see {plan.log}")
    return plan.out


def render(plan: Plan) -> str:
    """What a build would take and do: elements, scripts, packages, environment. Nothing is built."""
    command = [str(builder() / "python"), str(Path(__file__).with_name("render.py")), *plan.elements]
    done = subprocess.run(command, env=environment(plan), capture_output=True, text=True, timeout=120)
    if done.returncode:
        raise CannotBuild(f"rendering {' '.join(plan.elements)}: {done.stderr.strip()}")
    return done.stdout


@functools.cache
def builder() -> Path:
    """Where the programs of diskimage-builder are."""
    command = [sys.executable, str(CHECKOUT / ".ci/environment"), str(LOCK)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=BUILD_S)
    return Path(done.stdout.strip()) / "bin"


def environment(plan: Plan) -> dict[str, str]:
    """All that the build sees of this machine's environment, and the elements' own defaults for this checkout."""
    kept = {name: value for name, value in os.environ.items() if name.startswith("DIB_") or name.endswith("_proxy")}
    ours = {
        "PATH": f"{builder()}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "HOME": os.environ.get("HOME", "/root"),
        "USER": "root",  # disk-image-create dies without one
        "LC_ALL": "C.UTF-8",
        "ARCH": architecture(),
        "TMP_DIR": os.environ.get("TMPDIR", "/tmp"),
        "ELEMENTS_PATH": ":".join(str(path) for path in ELEMENTS),
        "DIB_IMAGE_CACHE": str(cache.home() / "dib"),
        "DIB_LOCKFILES": str(cache.home() / "dib/locks"),
        "DIB_PYTHON_VERSION": "3",  # the element dib-python takes 2 for every Debian
        "DIB_OS_DEPLOY_AGENT_WHEELS": str(wheels.wheelhouse()),
        "DIB_OS_DEPLOY_AGENT_SOURCE": str(CHECKOUT),
    }
    debian = any(element.startswith("debian") for element in plan.elements)
    return {**ours, **(mirrors() if debian else {}), **kept, **dict(plan.variables)}


@functools.cache
def mirrors() -> Mapping[str, str]:
    """Where apt of this machine gets Debian's packages from is where an image of Debian gets its own from."""
    if not shutil.which("apt-get"):
        return {}
    asked = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE)", "Created-By: Packages"]
    lines = subprocess.run(asked, capture_output=True, text=True, timeout=60).stdout.splitlines()
    pairs = [line.split() for line in lines if len(line.split()) == 2]  # a flat repository has no release
    known = {release: address.rstrip("/") for address, release in pairs}
    suite = os.environ.get("DIB_RELEASE", "bookworm")
    named = {"DIB_DISTRIBUTION_MIRROR": suite, "DIB_DEBIAN_SECURITY_MIRROR": f"{suite}-security"}
    return {name: known[release] for name, release in named.items() if release in known}


def architecture() -> str:
    """Debian's word for what this machine is."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


def variables(words: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """NAME=VALUE words of a command line."""
    return tuple((name, value) for name, _, value in (word.partition("=") for word in words))
