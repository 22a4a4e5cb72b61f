"""A guest with the agent installed as an image has it: the package, its command on PATH, its unit enabled."""

from __future__ import annotations

import compileall
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import waiting
from tests.conftest import CHECKOUT
from tests.guest.guest import Guest

UNIT = "os-deploy-agent.service"
HOME = "opt/os-deploy-agent"
COMMAND = f"""#!/usr/bin/python3
import sys
sys.path.insert(0, "/{HOME}")
from agent.cli.main import entry
entry()
"""
SETTINGS = """[DEFAULT]
polling_interval = 1
min_polling_interval = 0.2
kill_grace = 2
collectors = local
"""


def compile_into(tree: Path) -> None:
    """A copy of the checkout's package, byte-compiled as an image has it (where this Python is the guest's)."""
    shutil.copytree(CHECKOUT / "agent", tree / "agent", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(tree, quiet=1)


def install(root: Path, tree: Path, *, enable: bool = True) -> None:
    """Put the agent of `tree` into a root file system, with a source of metadata that `give` writes to."""
    shutil.copytree(tree, root / HOME)
    command = root / "usr/local/bin/os-deploy-agent"
    command.write_text(COMMAND)
    command.chmod(0o755)
    for unit in sorted((CHECKOUT / "systemd").iterdir()):
        shutil.copy(unit, root / "etc/systemd/system" / unit.name)
    write(root, "etc/os-deploy-agent/10-test.conf", SETTINGS)
    (root / "var/lib/os-collect-config/local-data").mkdir(parents=True, mode=0o700)
    (root / "var/log/journal").mkdir(exist_ok=True)  # the journal outlives a reboot
    if enable:
        wanted = root / "etc/systemd/system/multi-user.target.wants"
        wanted.mkdir(parents=True, exist_ok=True)
        (wanted / UNIT).symlink_to(f"/etc/systemd/system/{UNIT}")


def write(root: Path, name: str, text: str, mode: int = 0o644) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def give(guest: Guest, *deployments: dict[str, Any]) -> None:
    """What the guest's metadata lists from now on."""
    place = guest.root / "var/lib/os-collect-config/local-data"
    new = place.parent / "new.json"
    new.write_text(json.dumps({"deployments": deployments}))
    new.chmod(0o600)
    new.rename(place / "local.json")


def script(id: str, config: str, **more: Any) -> dict[str, Any]:
    """One deployment as Heat lists it."""
    return {
        "id": id,
        "name": more.pop("name", f"name-of-{id}"),
        "group": "script",
        "config": config,
        "inputs": [{"name": "deploy_stack_id", "value": "stack/1"}],
        "outputs": [],
        "options": more.pop("options", {}),
        **more,
    }


def outcome(guest: Guest, id: str) -> dict[str, Any]:
    """What came of a deployment, waited for."""
    path = guest.root / f"var/lib/heat-config/deployed/{id}.notify.json"
    until(guest, path.exists, f"the outcome of {id}")
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def until(guest: Guest, condition: Callable[[], bool], what: str) -> None:
    """Wait for a condition; what the agent said is told where it never holds."""
    waiting.until(condition, lambda: f"{what}\n{guest.run('journalctl', '--no-pager', '-n', '40').stdout}")
