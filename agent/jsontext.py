"""JSON as the outside sends it: text becomes a value, or an error that says what is wrong with it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

from agent.errors import MetadataError

if TYPE_CHECKING:  # the model is 10 ms of classes, which `os-apply-config --key` does without
    from agent.model import Json, JsonMap

MAX_DEPTH = 256
"""Deepest nesting of a document; everything that walks one may recurse."""


def decode(data: bytes, what: str) -> Json:
    """JSON text as a value; `what` names it in errors.

    Raises MetadataError for anything else: bad UTF-8, NaN, 1e999, an integer of 5000 digits, nesting beyond MAX_DEPTH.
    """
    try:
        value = cast("Json", json.loads(data, parse_constant=_no_constant, parse_float=_finite))
    except RecursionError as exc:
        raise MetadataError(f"reading {what}: nested too deeply; at most {MAX_DEPTH} levels are taken") from exc
    except ValueError as exc:
        raise MetadataError(f"reading {what}: not JSON ({exc}); look at what the source serves") from exc
    if _deeper_than(value, MAX_DEPTH):
        raise MetadataError(f"reading {what}: nested too deeply; at most {MAX_DEPTH} levels are taken")
    return value


def whole_text(text: str) -> str:
    """Text without halves of characters."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def whole(value: Json) -> Json:
    """A value with U+FFFD for halves of characters (lone surrogates), which nothing can print, write or send."""
    match value:
        case str():
            return whole_text(value)
        case list():
            return [whole(element) for element in value]
        case dict():
            return {whole_text(key): whole(element) for key, element in value.items()}
        case _:
            return value


def decode_map(data: bytes, what: str) -> JsonMap:
    """Like `decode`, for text that must hold a JSON object."""
    value = decode(data, what)
    if not isinstance(value, dict):
        raise MetadataError(f"reading {what}: a JSON object is wanted, this is {kind(value)}")
    return value


def digest(content: Json) -> str:
    """The same 64 hex digits for equal content, whatever the order of its keys."""
    import hashlib  # noqa: PLC0415 - 3 ms that commands which only read do without

    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def as_text(value: Json) -> str:
    """A value as text for a file or an environment: text as it is, null as nothing, everything else as JSON."""
    if isinstance(value, str):
        return value
    if type(value) is int:  # as JSON spells it, in a tenth of the time
        return str(value)
    return "" if value is None else json.dumps(value)


def number(value: Json) -> float:
    """A number as it is, 0.0 for anything else."""
    return float(value) if isinstance(value, (int, float)) else 0.0


def kind(value: Json) -> str:
    """What a value is, for a sentence: "a list"."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _finite(text: str) -> float:
    """A number that we could write again: JSON has none for what 1e999 comes to."""
    value = float(text)
    if value in (float("inf"), -float("inf")):
        raise ValueError(f"{text[:20]} is too large a number")
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _deeper_than(value: Json, limit: int) -> bool:
    layer: list[Json] = [value]
    for _ in range(limit):
        layer = [
            child
            for parent in layer
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not layer:
            return False
    return True
