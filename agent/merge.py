"""Documents become metadata: objects are merged key by key, a later document wins, lists and scalars are replaced.

The rule is os-apply-config's (config_exception and merge in its value_types and config files, `merge_configs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the model is 10 ms of classes, which `os-apply-config --key` does without
    from agent.model import Document, Json, JsonMap


def merge(documents: Iterable[Document]) -> JsonMap:
    """All documents as one object, in collector order; nothing in them is changed."""
    merged: JsonMap = {}
    for document in documents:
        merged = merge_maps(merged, document.content)
    return merged


def merge_maps(lower: Mapping[str, Json], upper: Mapping[str, Json]) -> JsonMap:
    """`upper` laid over `lower`."""
    merged = dict(lower)
    for key, value in upper.items():
        under = merged.get(key)
        merged[key] = merge_maps(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return merged


def lookup(metadata: Json, path: str) -> Json:
    """The value at a dotted path (`a.b.0`); raises KeyError naming the part that is not there."""
    return below(metadata, path.split("."))


def below(value: Json, parts: Iterable[str]) -> Json:
    """The value at a path of keys and places in lists; raises KeyError naming the part that is not there."""
    for part in parts:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise KeyError(part)
    return value


def blame(documents: Iterable[Document], path: str) -> str:
    """The name of the document that the merged value at `path` comes from, "" when none has it."""
    name = ""
    for document in documents:
        try:
            lookup(document.content, path)
        except KeyError:
            continue
        name = document.name
    return name
