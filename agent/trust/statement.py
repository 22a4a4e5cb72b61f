"""What a signature covers: one byte string for one meaning of a software config. Pure.

Covered are group, config, the declared inputs (name and type, the value where it is pinned) and outputs, all options,
and the terms of the signature itself: key, purpose, expiry, pins. Not covered is what Heat adds for one deployment:
id, name, creation time, the values of inputs that are not pinned, and the deploy_* inputs.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.errors import TrustError
from agent.jsontext import kind
from agent.model import Json, JsonMap

OPTION = "signature"
VERSION = 1
DOMAIN = b"os-deploy-agent software config\n"  # so that no other signature of the same key can be passed off as ours

SERVER_INPUTS = frozenset(
    {
        *("deploy_server_id", "deploy_action", "deploy_stack_id", "deploy_resource_name", "deploy_signal_transport"),
        *("deploy_signal_id", "deploy_signal_verb", "deploy_auth_url", "deploy_username", "deploy_user_id"),
        *("deploy_password", "deploy_project_id", "deploy_region_name", "deploy_queue_id"),
    }
)
"""The inputs that Heat adds to every deployment (heat/engine/resources/openstack/heat/software_deployment.py)."""

_TERMS = frozenset({"version", "key", "purpose", "expires", "pinned", "value"})
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a signature says of itself. `key` names the public key, `expires` is UTC, `pinned` are names of inputs."""

    key: str
    purpose: str
    expires: str
    pinned: tuple[str, ...] = ()
    version: int = VERSION

    def option(self, value: bytes) -> JsonMap:
        """The option that carries the signature `value`."""
        return {**self.map(), "value": base64.b64encode(value).decode()}

    def map(self) -> JsonMap:
        """The terms as they are signed."""
        pinned: list[Json] = list(self.pinned)
        named: JsonMap = {"version": self.version, "key": self.key, "purpose": self.purpose, "expires": self.expires}
        return {**named, "pinned": pinned} if pinned else named


@dataclass(frozen=True, slots=True)
class Signed:
    """A config with its signature, taken apart. `valueless` are pinned inputs for which the config has no value."""

    terms: Terms
    value: bytes = field(repr=False)
    statement: bytes = field(repr=False)
    valueless: tuple[str, ...] = ()


def statement(config: Mapping[str, Json], terms: Terms) -> bytes:
    """The bytes to sign. `config` is a software config as Heat lists it: group, config, inputs, outputs, options.

    Raises TrustError for what cannot be signed: Heat or JSON would not carry it unchanged.
    """
    if not isinstance(config.get("group"), str) or not config["group"]:
        raise TrustError("it names no group")
    options = _map(config.get("options"), "options")
    covered: JsonMap = {
        "group": config["group"],
        "config": config.get("config"),
        "inputs": _inputs(config.get("inputs"), terms.pinned),
        "outputs": _outputs(config.get("outputs")),
        "options": {name: value for name, value in options.items() if name != OPTION},
        OPTION: terms.map(),
    }
    _check(covered)
    return DOMAIN + json.dumps(covered, sort_keys=True, separators=(",", ":")).encode()


def signed(listed: Mapping[str, Json]) -> Signed | None:
    """The signature that a listed config carries, None when it carries none.

    Raises TrustError when what it carries is none of ours, or the config is none that can be signed.
    """
    carried = _map(listed.get("options"), "options").get(OPTION)
    if carried is None:
        return None
    carried = _map(carried, f"option {OPTION}")
    if unknown := carried.keys() - _TERMS:
        raise TrustError(f"its signature says {', '.join(sorted(unknown))}, which this agent does not know")
    if carried.get("version") != VERSION or isinstance(carried["version"], bool):
        raise TrustError(f"its signature is not of version {VERSION}")
    terms = Terms(
        _text(carried, "key"), _text(carried, "purpose"), _text(carried, "expires"), _names(carried.get("pinned"))
    )
    if not _TIME.fullmatch(terms.expires):
        raise TrustError("its signature's expires is no time like 2027-01-31T00:00:00Z")
    covered = statement(listed, terms)
    given = {_name(e, "input") for e in _list(listed.get("inputs"), "inputs") if "value" in e or "default" in e}
    valueless = tuple(name for name in terms.pinned if name not in given)
    return Signed(terms, _value(_text(carried, "value")), covered, valueless)


def _value(text: str) -> bytes:
    try:
        value = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        value = b""
    if not value or base64.b64encode(value).decode() != text:  # one spelling only
        raise TrustError("its signature's value is no base64")
    return value


def _text(carried: JsonMap, name: str) -> str:
    found = carried.get(name)
    if not isinstance(found, str) or not found:
        raise TrustError(f"its signature has no {name}")
    return found


def _names(listed: Json) -> tuple[str, ...]:
    if listed is None:
        return ()
    if not isinstance(listed, list) or not listed:
        raise TrustError("its signature's pinned is no list of inputs")
    return tuple(str(name) for name in listed)


def _inputs(listed: Json, pinned: tuple[str, ...]) -> list[Json]:
    """The declared inputs, in their order. One that is given but was not declared changes the statement, as it must:
    inputs become the environment of a program.
    """
    inputs: dict[str, Json] = {}
    for element in _list(listed, "inputs"):
        name = _name(element, "input")
        if name in SERVER_INPUTS:
            continue
        if name in inputs:
            raise TrustError(f"input {name!r} is declared twice")
        declared: JsonMap = {"name": name, "type": element.get("type") or "String"}
        if name in pinned:
            declared["value"] = element["value"] if "value" in element else element.get("default")
        inputs[name] = declared
    if missing := set(pinned) - inputs.keys():
        raise TrustError(f"input {min(missing)!r} is pinned and not there")
    return list(inputs.values())


def _outputs(listed: Json) -> list[Json]:
    outputs: list[Json] = []
    for element in _list(listed, "outputs"):
        error_output = element.get("error_output")
        outputs.append(
            {
                "name": _name(element, "output"),
                "type": element.get("type") or "String",
                "error_output": False if error_output is None else error_output,
            }
        )
    return outputs


def _name(element: JsonMap, what: str) -> str:
    name = element.get("name")
    if not isinstance(name, str) or not name:
        raise TrustError(f"one of its {what}s has no name")
    return name


def _list(listed: Json, what: str) -> list[JsonMap]:
    if listed is None:
        return []
    elements = listed if isinstance(listed, list) else [listed]
    for element in elements:
        if not isinstance(element, dict):
            raise TrustError(f"its {what} hold {kind(element)}, objects are wanted")
    return [element for element in elements if isinstance(element, dict)]


def _map(value: Json, what: str) -> JsonMap:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise TrustError(f"its {what} is {kind(value)}, an object is wanted")
    return value


def _check(value: Json) -> None:
    """Refuse what has more than one spelling in JSON, or is filled in on the way."""
    match value:
        case float():
            raise TrustError(f"the number {value!r} is not whole, and JSON has many ways to write it; make it text")
        case dict():
            if "get_input" in value:
                raise TrustError("its config asks for get_input, which Heat replaces on the way; use the environment")
            for inner in value.values():
                _check(inner)
        case list():
            for inner in value:
                _check(inner)
        case None | bool() | int() | str():
            return
        case _:  # YAML knows more than JSON does
            raise TrustError(f"{value} is no JSON (a date?); put it into quotes")
