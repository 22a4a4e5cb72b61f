"""`make kinds`: the other two ways to install the agent into an image, each built and booted. Takes minutes.

Not part of `make test`, which builds and boots the third, from wheels: its name is none that pytest looks for.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from shipping import deb, image, wheels
from shipping.cache import CHECKOUT
from shipping.image import Plan
from tests.image import install, machine
from tests.image.machine import Instance, bootstrap
from tests.image.test_boot import OWN, UNIT, serve, wait_signals

pytestmark = [pytest.mark.guest, pytest.mark.timeout(3600)]

ELEMENTS = Path(__file__).with_name("kinds_elements")
BUILDER = ("hatchling", "packaging", "pathspec", "pluggy", "tomlkit", "trove-classifiers")


def root_of(directory: Path, kind: str, elements: tuple[str, ...], given: Mapping[str, str]) -> Path:
    """The root file system of an image of this kind, built without a network."""
    variables = {
        "DIB_ROOT_DIRECTORY": str(install.root()),
        "DIB_INSTALLTYPE_os_deploy_agent": kind,
        "ELEMENTS_PATH": ":".join(map(str, (*image.ELEMENTS, ELEMENTS))),
        **given,
    }
    plan = Plan(directory / "build", (image.OFFLINE, "os-deploy-agent", *elements), variables=tuple(variables.items()))
    archive = image.build(plan) / "os-deploy-agent.tar"
    root = directory / "root"
    for place in ("dev", "proc", "run", "sys", "tmp"):  # which diskimage-builder leaves out
        (root / place).mkdir(parents=True)
    subprocess.run(["tar", "--numeric-owner", "-C", root, "-xpf", archive], check=True, timeout=600)
    archive.unlink()
    return root


def there(root: Path) -> None:
    path = root / OWN
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(json.dumps(bootstrap()))


def first_outcome(root: Path) -> str:
    """What the endpoint makes of a script's outcome, on a machine of this root."""
    nothing = Instance("", "")
    with machine.machine(root, lambda _root, _instance: None, nothing, prepare=there) as (guest, endpoint):
        serve(endpoint, "web")
        wait_signals(guest, endpoint, 1)
        assert "active" == guest.ask("systemctl", "is-active", UNIT)
        assert "enabled" == guest.ask("systemctl", "is-enabled", UNIT)
        return endpoint.signals[0].judged


def test_an_image_from_a_checkout_deploys(debian: Path, tmp_path: Path) -> None:
    root = root_of(tmp_path, "source", (), {"DIB_OS_DEPLOY_AGENT_WHEELS": str(wheels_and_builder(tmp_path))})

    assert (root / "opt/os-deploy-agent/bin/agent").exists()
    assert not list(root.glob("opt/os-deploy-agent/lib/python3*/site-packages/pip"))
    assert not (root / "tmp/os-deploy-agent-source").exists()
    assert "COMPLETE" == first_outcome(root)


def wheels_and_builder(directory: Path) -> Path:
    """The wheelhouse, and what pip builds a checkout with where it is installed; as the lock has it."""
    house = directory / "wheels"
    shutil.copytree(wheels.wheelhouse(), house)
    lock = (CHECKOUT / ".ci/locks/dev.txt").read_text()
    wanted = directory / "builder.txt"
    wanted.write_text("".join(re.findall(rf"^(?:{'|'.join(BUILDER)})==(?:.*\\\n)*.*\n", lock, re.MULTILINE)))
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes", "--dest", str(house)]
    subprocess.run([*command, "--requirement", str(wanted)], check=True, stdout=sys.stderr, timeout=600)
    return house


def test_an_image_from_a_package_deploys(debian: Path, tmp_path: Path) -> None:
    given = {"PACKAGES_AT_HAND": str(deb.package().parent)}
    root = root_of(tmp_path, "package", ("packages-at-hand",), given)

    assert (root / "usr/lib/os-deploy-agent/bin/agent").exists()
    assert not (root / "opt/os-deploy-agent").exists()
    assert "COMPLETE" == first_outcome(root)
