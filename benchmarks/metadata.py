"""Deployments as Heat lists them (heat/engine/service_software_config.py)."""

from __future__ import annotations

import uuid

TRIVIAL = "#!/bin/sh\nexit 0\n"


def document(count: int, url: str, script: str = TRIVIAL) -> dict[str, object]:
    """Metadata with `count` new deployments of group script, each with a CFN_SIGNAL endpoint of its own."""
    return {"deployments": [_deployment(number, url, script) for number in range(count)]}


def ids(metadata: dict[str, object]) -> list[str]:
    listed = metadata["deployments"]
    assert isinstance(listed, list)
    return [element["id"] for element in listed]


def _deployment(number: int, url: str, script: str) -> dict[str, object]:
    identity = str(uuid.uuid4())
    inputs = {
        "deploy_server_id": "5f5a3a4e-0b0f-4d55-9a1c-1d7b8e2f6a10",
        "deploy_action": "CREATE",
        "deploy_stack_id": "bench/0c1d4f5e-8f4f-4a7e-9e0f-6f1c9f7f3b21",
        "deploy_resource_name": f"step{number}",
        "deploy_signal_transport": "CFN_SIGNAL",
        "deploy_signal_id": f"{url}/signal/step{number}?Signature={identity}",
        "deploy_signal_verb": "POST",
    }
    return {
        "id": identity,
        "name": f"step{number:04}",
        "group": "script",
        "creation_time": "2030-01-01T00:00:00Z",
        "config": script,
        "inputs": [
            {"name": name, "type": "String", "value": value, "description": None} for name, value in inputs.items()
        ],
        "outputs": [],
        "options": {},
    }
