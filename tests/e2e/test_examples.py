"""Each template of examples/hot/ reaches CREATE_COMPLETE on the real Heat, on a server that this lab can make."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import CHECKOUT
from tests.e2e.cloud import Heat
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest

HOT = CHECKOUT / "examples/hot"
ELSEWHERE = {"boot.yaml"}  # its server boots: tests/image/test_package.py
SERVER = {"type": "OS::Heat::DeployedServer", "properties": {"software_config_transport": "POLL_SERVER_HEAT"}}


def here(template: dict[str, Any]) -> dict[str, Any]:
    """The template with a server of ours in place of Nova's, or of one that is a parameter; nobody waits for sleeps."""
    parameters = {name: p for name, p in template["parameters"].items() if "default" in p}
    resources = {**template["resources"], "server": SERVER}
    for resource in resources.values():
        properties = resource.get("properties", {})
        if properties.get("server") == {"get_param": "server"}:
            properties["server"] = {"get_resource": "server"}
        if isinstance(properties.get("config"), str):
            properties["config"] = properties["config"].replace("sleep 30", "sleep 1")
    return {**template, "parameters": parameters, "resources": resources}


@pytest.mark.parametrize("name", sorted(path.name for path in HOT.glob("*.yaml") if path.name not in ELSEWHERE))
def test_an_example_reaches_create_complete(
    heat: Heat, guest: Guest, launch: Launcher, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.write_text(yaml.safe_dump(here(yaml.safe_load((HOT / name).read_text())), sort_keys=False))
    guest.configure(polling_interval=1)
    stack = heat.create(f"example-{path.stem}-{tmp_path.name}", str(path), {})
    launch.started.append(stack)
    guest.boot(heat.bootstrap(stack))

    with guest.daemon():
        heat.wait(stack, "CREATE_COMPLETE")
