"""All of it at once: the image, booted, told by cloud-init what Heat sends, in the life of a stack."""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import require
from tests.e2e.cloud import Heat
from tests.e2e.transports import CFN, HEAT, Transports
from tests.guest import install as guest_install
from tests.image import install, machine
from tests.image.machine import Instance
from tests.image.relay import relaying
from tests.lab.model import LISTENERS

pytestmark = pytest.mark.guest
RUNS = "/root/runs"


@pytest.fixture(scope="session")
def image() -> Path:
    require(os.geteuid() == 0, "a guest needs root")
    require(guest_install.installed(install.PACKAGES) and not install.lacking(), "needs python -m tests.image install")
    return install.built()


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_a_booted_image_lives_with_its_stack(heat: Heat, image: Path, transports: Transports) -> None:
    name, given = f"image-{os.getpid()}-{transports}".replace("_", "-"), {**transports.parameters, "runs": RUNS}
    stack = heat.create(name, "component.yaml", given)
    try:
        sent = machine.user_data({"os-collect-config": heat.bootstrap(stack), "deployments": []})
        instance = Instance(str(heat.resource(stack, "server")["physical_resource_id"]), sent)
        with relaying(map(heat.lab.port, LISTENERS)) as relay:

            def listen(_stack: ExitStack) -> None:
                relay()

            with machine.machine(image, machine.no_cloud, instance, prepare=_hurry, listen=listen) as (
                guest,
                _endpoint,
            ):
                heat.wait(stack, "CREATE_COMPLETE")
                heat.update(stack, "component.yaml", {**given, "version": "2"})
                heat.wait(stack, "UPDATE_COMPLETE")
                heat.delete(stack)
                heat.wait_gone(stack)

                assert ["created 1", "updated 2", "deleted 2"] == (guest.root / RUNS[1:]).read_text().splitlines()
                assert "active" == guest.ask("systemctl", "is-active", "os-deploy-agent.service")
    finally:
        heat.delete(stack)


def _hurry(root: Path) -> None:
    """Look for changes each second, so that the test need not wait."""
    settings = "[DEFAULT]\npolling_interval = 1\n[cfn]\npolling_interval = 1\nmin_polling_interval = 1\n"
    (root / "etc/os-deploy-agent/20-test.conf").write_text(settings)
