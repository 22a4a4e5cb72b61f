"""Software configs in files: a HOT template, the properties of one config, or metadata as a source serves it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent import jsontext, yamltext
from agent.errors import MetadataError, TrustError, UsageError
from agent.jsontext import kind
from agent.model import Json, JsonMap

CONFIGS = ("OS::Heat::SoftwareConfig", "OS::Heat::StructuredConfig", "OS::Heat::SoftwareComponent")
_FUNCTIONS = frozenset(
    {
        *("get_param", "get_attr", "get_resource", "get_file", "str_replace", "str_replace_strict", "list_join"),
        *("str_replace_vstrict", "list_concat", "list_concat_unique", "repeat", "digest", "resource_facade"),
        *("str_split", "yaql", "if", "equals", "map_merge", "map_replace", "filter", "make_url", "contains"),
    }
)


@dataclass(frozen=True, slots=True)
class Named:
    """A software config and what to call it: the resource, or the deployment."""

    name: str
    config: JsonMap = field(repr=False)


def read(path: Path) -> tuple[Named, ...]:
    """All software configs of a file; `get_file` as the whole config is taken from beside it.

    Raises TrustError when the file cannot be read, or Heat would change a config on its way to the guest.
    """
    content = yaml(_bytes(path), str(path))
    if not isinstance(content, dict):
        raise TrustError(f"reading {path}: this is {kind(content)}; a template, properties or metadata are wanted")
    if isinstance(listed := content.get("deployments"), list):
        return tuple(Named(str(c.get("name") or c.get("id")), c) for c in listed if isinstance(c, dict))
    if isinstance(resources := content.get("resources"), dict):
        return tuple(
            Named(str(name), _settled(_properties(resource), path, str(name)))
            for name, resource in resources.items()
            if isinstance(resource, dict) and resource.get("type") in CONFIGS
        )
    return (Named(path.stem, _settled(_properties(content), path, path.stem)),)


def pins(texts: Iterable[str], config: JsonMap) -> dict[str, Json]:
    """NAME=VALUE of inputs of a config: text for a String, else JSON, as Heat lists them. Raises UsageError."""
    types = input_types(config)
    found: dict[str, Json] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name not in types:
            raise UsageError(f"--pin {text!r} is no NAME=VALUE of an input; inputs are {', '.join(types) or 'none'}")
        try:
            found[name] = value if types[name] == "String" else jsontext.decode(value.encode(), f"--pin {name}")
        except MetadataError as exc:
            raise UsageError(f"{exc}; an input of type {types[name]} takes JSON") from exc
    return found


def with_values(config: JsonMap, values: Mapping[str, Json]) -> JsonMap:
    """The config with these values of its inputs."""
    listed = config.get("inputs")
    if not values or not isinstance(listed, list):
        return config
    inputs: list[Json] = [
        {**element, "value": values[name]}
        if isinstance(element, dict) and (name := _name(element)) in values
        else element
        for element in listed
    ]
    return {**config, "inputs": inputs}


def input_types(config: JsonMap) -> dict[str, str]:
    """The inputs by name, with their types; what is no object, signing complains of."""
    listed = config.get("inputs")
    elements = [element for element in listed if isinstance(element, dict)] if isinstance(listed, list) else []
    return {_name(element): str(element.get("type") or "String") for element in elements}


def _name(element: JsonMap) -> str:
    return str(element.get("name"))


def yaml(data: bytes, what: str) -> Json:
    """YAML (so JSON, too) without surprises: a key that stands twice is an error. Raises TrustError."""
    base = yamltext.base()

    class Loader(base):  # type: ignore[misc,valid-type]
        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
            keys = [key.value for key, _ in node.value]
            for key, _ in node.value:
                if not isinstance(key.value, str):
                    raise TrustError(f"reading {what}, line {key.start_mark.line + 1}: a key is no plain word")
            if len(keys) != len(set(keys)):
                raise TrustError(f"reading {what}, line {node.start_mark.line + 1}: a key stands twice")
            made: dict[Hashable, Any] = super().construct_mapping(node, deep)
            return made

    try:
        return yamltext.load(data, what, Loader)
    except MetadataError as exc:
        raise TrustError(str(exc)) from exc


def _properties(resource: JsonMap) -> JsonMap:
    properties = resource.get("properties", resource)
    if not isinstance(properties, dict):
        raise TrustError(f"its properties are {kind(properties)}")
    if resource.get("type") == "OS::Heat::SoftwareComponent":
        return {**properties, "group": "component", "config": {"configs": properties.get("configs")}}
    if resource.get("type") == "OS::Heat::StructuredConfig":
        return {"group": "Heat::Ungrouped", **properties}
    return properties


def _settled(config: JsonMap, path: Path, name: str) -> JsonMap:
    """The config as Heat will list it, with its file in place."""
    body = config.get("config")
    if isinstance(body, dict) and body.keys() == {"get_file"}:
        config = {**config, "config": _bytes(path.parent / str(body["get_file"])).decode("utf-8", "strict")}
    if found := _function(config):
        raise TrustError(f"signing {name}: Heat replaces {found} on the way; sign what it comes to, or use an input")
    return config


def _function(value: Json) -> str:
    if isinstance(value, dict):
        if len(value) == 1 and (only := next(iter(value))) in _FUNCTIONS:
            return only
        return next((found for inner in value.values() if (found := _function(inner))), "")
    if isinstance(value, list):
        return next((found for inner in value if (found := _function(inner))), "")
    return ""


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise TrustError(f"reading {path}: {exc.strerror}") from exc
