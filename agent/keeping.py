"""What the disk keeps of a deployment's secrets, and for how long. Pure.

There are two kinds: inputs that its outcome is signalled with, needed until that was taken, and inputs that the mask
would hide any of, by name, type or looks (masking.py), needed until the hook has ended. An input whose value is not
kept, or is sealed (seal.py), says so:

    {"name": "deploy_password", "type": "String", "not_kept": true}
    {"name": "deploy_password", "type": "String", "sealed": "…"}

A deployment is found by its shape, an object with `inputs` in a list at the root of a document, whatever the list is
called; one that the journal does not know keeps everything.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import TypeAlias

from agent import masking, model, parse
from agent.model import NOT_KEPT, SEALED, Json, JsonMap

PUBLIC = frozenset(
    {
        *("deploy_server_id", "deploy_action", "deploy_stack_id", "deploy_resource_name"),
        *("deploy_signal_transport", "deploy_signal_verb"),
    }
)
"""What Heat adds besides, which is no secret."""

LOOKED_AT = 8192  # characters of a text that is looked at for what looks like a credential
_VALUES = ("value", "default")


class Need(IntEnum):
    """How much of its secrets a deployment still needs; also which need an input serves, NOTHING where it is none."""

    NOTHING = 0
    SIGNAL = 1
    HOOK = 2


NeedOf: TypeAlias = Callable[[str], Need]
"""What the deployment of this key still needs."""
Close: TypeAlias = Callable[[str, str, JsonMap], str]
Open: TypeAlias = Callable[[str, str, str], "JsonMap | None"]
"""Seal the values of an input, by the deployment's key and the input's name; and back, None where that cannot be."""


def need(progress: str) -> Need:
    """What a deployment that got so far still needs: a hook that may run again its inputs, an outcome its endpoint."""
    if progress in model.SETTLED:
        return Need.NOTHING
    return Need.SIGNAL if progress == model.FINISHED else Need.HOOK


def held(content: JsonMap) -> Mapping[str, Need]:
    """The greatest need that the secrets in a document serve, sealed or not, of each deployment that has any."""
    found: dict[str, Need] = {}
    for element in _deployments(content):
        serves = max((_serves(given) for given in _inputs(element) if _has_values(given)), default=Need.NOTHING)
        if serves:
            key = parse.key_of(element)
            found[key] = max(serves, found.get(key, Need.NOTHING))
    return found


def unsealed(content: JsonMap) -> bool:
    """Whether a secret stands in it for everybody to read."""
    values = (given for element in _deployments(content) if _has_id(element) for given in _inputs(element))
    return any(_serves(given) and any(name in given for name in _VALUES) for given in values)


def form(content: JsonMap, need_of: NeedOf, close: Close | None = None) -> JsonMap:
    """A document as it is kept: without what nobody needs any more, the other secrets sealed where that is wanted.

    An element without an id is known by all of its content: it is kept whole, and not at all once it is done.
    """
    return {name: _kept(value, need_of, close) if _is_list(value) else value for name, value in content.items()}


def bare(content: JsonMap) -> JsonMap:
    """A document without any secret of a deployment, the same from whatever form of it."""
    return form({name: _with_ids(value) for name, value in content.items()}, lambda _key: Need.NOTHING)


def bare_deployment(raw: JsonMap) -> JsonMap:
    """One deployment without its secrets."""
    return _element(raw, Need.NOTHING, None)


def opened(content: JsonMap, open_: Open) -> JsonMap:
    """A document with its sealed values opened; what cannot be opened stays sealed."""
    return {
        name: [_opened(element, open_) if _is_deployment(element) else element for element in value]
        if isinstance(value, list) and _is_list(value)
        else value
        for name, value in content.items()
    }


def whole(content: JsonMap) -> bool:
    """Whether every value is there."""
    return not any(_is_missing(given) for element in _deployments(content) for given in _inputs(element))


def sealed(content: JsonMap) -> int:
    """How many inputs are sealed."""
    return sum(SEALED in given for element in _deployments(content) for given in _inputs(element))


def secret_outputs(body: Mapping[str, Json]) -> tuple[str, ...]:
    """The outputs in an outcome whose names promise a secret, and that hold one."""
    empty = (None, "", masking.MASK)
    named = (name for name, value in body.items() if not name.startswith("deploy_") and value not in empty)
    return tuple(sorted(name for name in named if masking.is_secret(name)))


def _kept(listed: Json, need_of: NeedOf, close: Close | None) -> Json:
    kept: list[Json] = []
    for element in listed if isinstance(listed, list) else ():
        if not isinstance(element, dict) or not _is_deployment(element):
            kept.append(element)
            continue
        left = need_of(parse.key_of(element))
        if _has_id(element):
            kept.append(_element(element, left, close))
        elif left or not _holds_secrets(element):
            kept.append(element)
    return kept


def _element(element: JsonMap, left: Need, close: Close | None) -> JsonMap:
    listed = element.get("inputs")
    if not isinstance(listed, list):
        return element
    key = parse.key_of(element) if close else ""
    inputs: list[Json] = [_input(given, key, left, close) if isinstance(given, dict) else given for given in listed]
    return {**element, "inputs": inputs}


def _input(given: JsonMap, key: str, left: Need, close: Close | None) -> JsonMap:
    serves = _serves(given)
    if not serves or not _has_values(given):
        return given
    rest = {name: value for name, value in given.items() if name not in (*_VALUES, SEALED)}
    if serves > left:
        return {**rest, NOT_KEPT: True}
    values = {name: given[name] for name in _VALUES if name in given}
    return {**rest, SEALED: close(key, str(given["name"]), values)} if close and values else given


def _opened(element: Json, open_: Open) -> Json:
    assert isinstance(element, dict)
    listed, key = element["inputs"], parse.key_of(element)
    inputs: list[Json] = []
    for given in listed if isinstance(listed, list) else ():
        known = given if isinstance(given, dict) else {}
        text = known.get(SEALED)
        values = open_(key, str(known.get("name")), text) if isinstance(text, str) else None
        rest: JsonMap = {name: value for name, value in known.items() if name != SEALED}
        inputs.append(given if values is None else {**rest, **values})
    return {**element, "inputs": inputs}


def _serves(given: JsonMap) -> Need:
    """What an input is needed for, where the mask would hide any of it."""
    name, kind = given.get("name"), given.get("type")
    if not isinstance(name, str) or name in PUBLIC:
        return Need.NOTHING
    if name in model.SIGNALLED_WITH:
        return Need.SIGNAL
    if SEALED in given or masking.is_secret(name, kind if isinstance(kind, str) else ""):
        return Need.HOOK
    return Need.HOOK if any(_hides(given[key]) for key in _VALUES if key in given) else Need.NOTHING


def _hides(value: Json) -> bool:
    if isinstance(value, str):
        return len(value) <= LOOKED_AT and masking.text(value) != value
    return isinstance(value, (dict, list)) and masking.value(value) != value


def _has_values(given: JsonMap) -> bool:
    return SEALED in given or any(name in given for name in _VALUES)


def _is_missing(given: JsonMap) -> bool:
    return "value" not in given and (NOT_KEPT in given or SEALED in given)


def _deployments(content: JsonMap) -> list[JsonMap]:
    lists = [value for value in content.values() if isinstance(value, list)]
    return [element for listed in lists for element in listed if isinstance(element, dict) and _is_deployment(element)]


def _is_list(value: Json) -> bool:
    return isinstance(value, list) and any(_is_deployment(element) for element in value)


def _is_deployment(element: Json) -> bool:
    return isinstance(element, dict) and isinstance(element.get("inputs"), list)


def _has_id(element: JsonMap) -> bool:
    identity = element.get("id")
    return isinstance(identity, str) and bool(identity)


def _holds_secrets(element: JsonMap) -> bool:
    return any(_serves(given) and _has_values(given) for given in _inputs(element))


def _with_ids(value: Json) -> Json:
    """A list without the deployments that have no id: a stored form may be without them."""
    if not isinstance(value, list):
        return value
    return [e for e in value if not isinstance(e, dict) or not _is_deployment(e) or _has_id(e)]


def _inputs(element: JsonMap) -> list[JsonMap]:
    listed = element.get("inputs")
    return [given for given in listed if isinstance(given, dict)] if isinstance(listed, list) else []
