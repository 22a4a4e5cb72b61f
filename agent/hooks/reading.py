"""What a deployment says to a tool: its config as a map, its inputs by name, its options as text."""

from __future__ import annotations

import json
from typing import cast

from agent import jsontext, model, yamltext
from agent.errors import MetadataError
from agent.model import Deployment, Json, JsonMap, Outcome


def input_values(deployment: Deployment) -> JsonMap:
    """The inputs by name, typed, but for Heat's password: it is for signals, and tools keep what they get."""
    return {name: known.value for name, known in deployment.inputs.items() if name != "deploy_password"}


def option(deployment: Deployment, name: str, joint: str = ",") -> str:
    """An option as text: the items of a list joined, empty when it is absent or null."""
    value = deployment.options.get(name)
    return joint.join(jsontext.as_text(item) for item in (value if isinstance(value, list) else [value]))


def config_map(deployment: Deployment) -> JsonMap:
    """The config as a map: text is read as JSON or YAML, nothing is an empty map. Raises MetadataError."""
    config = deployment.config
    if isinstance(config, str) and config.strip():
        config = _from_text(config)
    if not config and not isinstance(config, (bool, int, float, list)):
        return {}
    if not isinstance(config, dict):
        raise MetadataError("its config is no map; give it as a map, or as text that holds one")
    return config


def _from_text(config: str) -> Json:
    try:
        return jsontext.decode(config.encode("utf-8", "surrogatepass"), "its config")
    except MetadataError:
        read = yamltext.decode(config, "its config")
    try:
        # Through JSON, so that keys and dates become text as they are everywhere else.
        return cast(Json, json.loads(json.dumps(read, default=str)))
    except (ValueError, TypeError) as exc:
        raise MetadataError(f"its config cannot be written as JSON ({exc}); correct it") from exc


def data_fault(deployment: Deployment, why: object) -> Outcome:
    """The outcome of a deployment whose config or inputs cannot be used."""
    return Outcome(model.STATUS_DATA, "", f"{deployment.group} for '{deployment.name}' was not run: {why}\n")
