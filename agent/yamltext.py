"""YAML as the outside sends it: text becomes a value, or an error that says what is wrong with it.

Some lines of it can cost any amount of time or memory, or the whole process (deep nesting overflows libyaml's stack),
so what a text would come to is measured by its events before anything is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from agent import jsontext
from agent.errors import MetadataError

if TYPE_CHECKING:
    from agent.model import Json

MAX_DEPTH = 64
LARGEST = 1 << 17
"""Most values of a text with its aliases replaced by what they stand for; 128 characters count as one, too."""

_CHARACTERS = 128
_LONGEST_NUMBER = 1000  # digits; a sexagesimal number takes time by the square of its length
_NUMBER = re.compile(r"[-+0-9_:.]+")

Data: TypeAlias = "bytes | str"


def decode(data: Data, what: str) -> Json:
    """The only document of a text as PyYAML's safe loader reads it; `what` names it in errors. Raises MetadataError."""
    return load(data, what, base())


def base() -> Any:
    """The safe loader, by libyaml where that is there."""
    import yaml  # noqa: PLC0415 - who has no YAML does without

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load(data: Data, what: str, loader: Any) -> Json:
    """As `decode`, by a loader of one's own."""
    import yaml  # noqa: PLC0415 - as above

    try:
        _measure(yaml.parse(data, Loader=base()), what)
        return jsontext.whole(cast("Json", yaml.load(data, loader)))  # noqa: S506 - a safe loader
    except (yaml.YAMLError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RecursionError) as exc:
        # a value that does not fit its tag (!!int "", !!bool x, 2026-99-99) is told of by whatever error it meets
        mark = getattr(exc, "problem_mark", None)
        lines = data.count("\n" if isinstance(data, str) else b"\n")  # type: ignore[arg-type]
        where = f" near line {min(mark.line, lines) + 1}" if mark else ""  # libyaml's end is a line after ours
        why = " ".join(str(getattr(exc, "problem", None) or exc).split())[:200] or type(exc).__name__
        raise MetadataError(f"{what} is neither JSON nor YAML{where} ({why}); correct it") from exc


def _measure(events: Iterable[Any], what: str) -> None:
    """Raise MetadataError for what would come to too much."""
    weights, names = [0], [""]
    anchors: dict[str, int] = {}
    for event in events:
        kind = type(event).__name__
        if kind in ("MappingStartEvent", "SequenceStartEvent"):
            weights.append(1)
            names.append(event.anchor or "")
            anchors.pop(event.anchor, None)  # until its end it stands for nothing
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            weight = weights.pop()
            anchors[names.pop()] = weight
            weights[-1] += weight
        elif kind == "ScalarEvent":
            weight = 1 + len(event.value) // _CHARACTERS
            anchors[event.anchor or ""] = weight
            weights[-1] += weight
            if len(event.value) > _LONGEST_NUMBER and _NUMBER.fullmatch(event.value):
                raise MetadataError(f"{what} has a number of {len(event.value)} digits; put it into quotes")
        elif kind == "AliasEvent":
            if event.anchor not in anchors:
                raise MetadataError(f"{what} is no YAML: *{event.anchor} stands for nothing, or for what it is part of")
            weights[-1] += anchors[event.anchor]
        if len(weights) > MAX_DEPTH:
            raise MetadataError(f"{what} is nested deeper than {MAX_DEPTH} levels")
        if weights[-1] > LARGEST:
            raise MetadataError(f"{what} comes to more than {LARGEST} values; write less of it")
