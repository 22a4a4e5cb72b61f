"""What a document of files leaves beside its originals: its name, whom its files concern, and who was not told yet."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from agent import jsontext, state
from agent.apply.notify import Units
from agent.errors import ApplyError, MetadataError
from agent.model import Json, JsonMap

FILE = "notes.json"


@dataclass(frozen=True, slots=True)
class Notes:
    """`of`: path -> units that want to know when the file changes or goes. `pending`: units still to be told."""

    name: str
    of: Mapping[str, Units] = field(default_factory=dict)
    pending: Units = field(default_factory=Units)


def read(home: Path, name: str) -> Notes:
    """The notes in the home of a document, those of a new document of that name where there are none."""
    found = load(home / FILE)
    of = found.get("of")
    known = {path: _units(units) for path, units in of.items()} if isinstance(of, dict) else {}
    return Notes(str(found.get("name", name)), known, _units(found.get("pending")))


def write(home: Path, notes: Notes) -> None:
    """Raises StateError."""
    spelled = {
        "name": notes.name,
        "of": {path: _spelled(units) for path, units in notes.of.items()},
        "pending": _spelled(notes.pending),
    }
    state.make_directory(home)
    state.write(home / FILE, json.dumps(spelled).encode())


def load(path: Path) -> JsonMap:
    """A file of ours, {} where there is none. Raises ApplyError."""
    try:
        return jsontext.decode_map(path.read_bytes(), str(path))
    except FileNotFoundError:
        return {}
    except (OSError, MetadataError) as exc:
        raise ApplyError(f"reading {path}: {exc}; restore the file, or remove it") from exc


def _units(given: Json) -> Units:
    match given:
        case {"reload": list() as reload, "restart": list() as restart}:
            return Units(tuple(map(str, reload)), tuple(map(str, restart)))
        case _:
            return Units()


def _spelled(units: Units) -> JsonMap:
    return {"reload": list(units.reload), "restart": list(units.restart)}
