"""One stack, four tools: what each of them said is an output of the stack."""

import json
import os

import pytest

from tests.conftest import require
from tests.e2e.cloud import Heat
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.tools import install

pytestmark = pytest.mark.slow
DEPLOYMENTS = ("script", "ansible", "puppet", "salt")


@pytest.fixture
def equipped(guest: Guest, monkeypatch: pytest.MonkeyPatch) -> Guest:
    """A guest with every tool on its PATH."""
    found = {name: install.directory(name) for name in install.PROGRAMS}
    require(all(found.values()) and install.puppet(), "needs ansible, puppet, salt: python -m tests.tools install")
    monkeypatch.setenv("PATH", os.pathsep.join([*map(str, found.values()), os.environ["PATH"]]))
    minion = guest.root / "etc/salt/minion"
    minion.parent.mkdir(parents=True)
    names = ("cachedir", "pki_dir", "sock_dir", "extension_modules")
    minion.write_text(json.dumps({"id": "guest", **{name: str(guest.root / "srv" / name) for name in names}}))
    return guest


def test_script_ansible_puppet_and_salt_complete_one_stack(heat: Heat, equipped: Guest, launch: Launcher) -> None:
    stack = launch("tools.yaml")
    for name in DEPLOYMENTS:
        heat.wait_offered(stack, name)

    done = equipped.once()

    assert 0 == done.returncode, done.stderr
    heat.wait(stack, "CREATE_COMPLETE")
    assert {name: f"{name} spoke" for name in DEPLOYMENTS} == heat.outputs(stack)
