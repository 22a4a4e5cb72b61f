"""The half of `os-apply-config` that renders and places: what prints one key never imports it."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from agent import layout, ownership
from agent.apply import compiled, install, place, templates, values
from agent.errors import ApplyError

if TYPE_CHECKING:
    from agent.model import JsonMap

SAME, DIFFERS = 0, 1
Say: TypeAlias = Callable[..., None]


def apply(arguments: argparse.Namespace, metadata: JsonMap, environ: Mapping[str, str], say: Say) -> int:
    """Render the tree, then place it, or show what would become of it; the exit status."""
    if arguments.subhash:
        metadata = values.below(metadata, arguments.subhash)
    root, output = Path(arguments.templates), Path(arguments.output).absolute()
    if arguments.templates == layout.templates({})[0] and (others := ownership.tree_writable_by_others(root)):
        raise ApplyError(f"no template is used: {others}")
    writes = not (arguments.check or arguments.diff or arguments.validate) and os.geteuid() == 0
    keep_in = Path(compiled.PLACE) if writes else None
    placements = templates.placements(root, output, metadata, environ, keep_in=keep_in)
    if arguments.check or arguments.diff:
        return _show(arguments, place.check(placements))
    if arguments.validate:
        say("INFO", "success")
        return 0
    changes = install.install(placements)
    say("INFO", *map(_told, changes), "success")
    if arguments.json:
        _print_json(changes)
    return 0


def _show(arguments: argparse.Namespace, changes: tuple[place.Change, ...]) -> int:
    from agent.apply import report  # noqa: PLC0415 - difflib, for those who ask

    if arguments.diff:
        sys.stdout.write("".join(report.diff(change) for change in changes))
    elif not arguments.json:
        sys.stdout.write(report.table(changes))
    if arguments.json:
        _print_json(changes)
    same = all(change.word == place.UNCHANGED for change in changes)
    return SAME if same or not arguments.check else DIFFERS


def _print_json(changes: tuple[place.Change, ...]) -> None:
    print(json.dumps({str(change.path): change.word for change in changes}))


def _told(change: place.Change) -> str:
    match change.word:
        case place.REMOVED:
            return f"deleting {change.path}"
        case place.UNCHANGED if change.placement.content is None:
            return f"not creating empty {change.path}"
        case place.UNCHANGED:
            return f"unchanged {change.path}"
        case _:
            return f"writing {change.path}"
