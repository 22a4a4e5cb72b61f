"""An image of the tools that the agent replaces, by their own elements, offline: what ours is held against.

The elements are those of tripleo-image-elements and heat-agents, their source install; what they take from an index
comes from wheels of the versions that `make bench` is held against.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks import peers
from shipping import cache, image
from shipping.image import Plan
from tests.guest import install as guest
from tests.image import install

ELEMENTS = ("os-collect-config", "os-apply-config", "os-refresh-config", "heat-config", "heat-config-script")
OURS = Path(__file__).with_name("old_elements")
INSIDE = "/tmp/in_target.d/old-tools-wheels"
# What package-installs of the elements name on Debian 12. Who builds without a network finds them installed.
PACKAGES = ("build-essential", "curl", "git", "jq", "libxml2-dev", "libxslt1-dev", "python3-dev", "python3-pip",
            "python3-virtualenv", "rsync", "virtualenv", "zlib1g-dev")  # fmt: skip
BUILD_S = 900
RECIPE = "1"  # raise it when this file changes what the image holds


def root() -> Path:
    """The root file system that they are installed into: the agent's own, and the packages that they ask for."""
    return guest.root((*install.PACKAGES, *PACKAGES))


def built() -> Path:
    """The image's root, built when it is not there. Raises CannotBuild."""
    if guest.ensure((*install.PACKAGES, *PACKAGES)):
        raise image.CannotBuild(f"building the old tools' image: {root()} could not be made; see above")

    def make(half: Path) -> None:
        scratch = half / "build"
        paths = (*image.ELEMENTS, OURS, peers.unpacked("tripleo-image-elements") / "elements", peers.unpacked())
        given = {
            "DIB_ROOT_DIRECTORY": str(root()),
            "ELEMENTS_PATH": ":".join(map(str, paths)),
            "OLD_TOOLS_WHEELS": str(wheels()),
            "DIB_RELEASE": "stable",  # by any other name of Debian 12 they call virtualenv as it was before 2019
            "DIB_INSTALLTYPE_pip_and_virtualenv": "package",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": INSIDE,
            "PIP_BREAK_SYSTEM_PACKAGES": "1",  # heat-config installs three clients beside Debian's own packages
        }
        elements = (image.OFFLINE, "dib-init-system", *ELEMENTS, "old-tools-wheels")  # the second they forget to name
        image.build(Plan(scratch, elements, variables=tuple(given.items())))
        (half / "root").mkdir()
        archive = scratch / "os-deploy-agent.tar"
        subprocess.run(["tar", "--numeric-owner", "-C", half / "root", "-xpf", archive], check=True, timeout=300)
        shutil.move(scratch / "build.log", half / "build.log")
        shutil.rmtree(scratch)

    parts = (root().parent.name, wheels().name, image.LOCK.read_bytes(), cache.content(["tests/image/old_elements"]))
    return cache.once(f"oldimage-{cache.digest(RECIPE, *parts)}", make) / "root"


def wheels() -> Path:
    """All that the lock of the old tools names, as wheels for the Python of Debian 12."""

    def make(half: Path) -> None:
        pip = [str(peers.environment() / "bin/python"), "-I", "-m", "pip", "wheel", "-qq", "--no-deps"]
        command = [*pip, "--require-hashes", "--wheel-dir", str(half), "--requirement", str(peers.LOCK)]
        subprocess.run(command, check=True, stdout=sys.stderr, timeout=BUILD_S)

    return cache.once(f"oldwheels-{cache.digest(RECIPE, peers.LOCK.read_bytes())}", make)
