"""Group `json-file`: each key of the config is the name of a file, its value becomes that file's content as JSON.

The contract is heat-agents' hook-json-file.py, but for the mode: a new file is for its owner alone (0600), because
configs hold passwords; a file that is there keeps its mode and owner, which is how another one is chosen.
"""

from __future__ import annotations

import os
from pathlib import Path

from agent.apply.place import Change, check
from agent.errors import ApplyError, MetadataError
from agent.hooks import reading, writing
from agent.hooks.user import acting_as
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome

REFUSES_USER = ""


def run(deployment: Deployment, place: Workplace) -> Outcome:
    try:
        files = _files(deployment, place)
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    try:
        with acting_as(place.user):
            writing.place(files)
    except (OSError, ApplyError) as exc:
        return writing.not_placed(deployment, exc)
    return Outcome(0)


def foresee(deployment: Deployment, place: Workplace) -> tuple[Change, ...]:
    return check(writing.placements(_files(deployment, place)))


def _files(deployment: Deployment, place: Workplace) -> dict[Path, bytes]:
    """Every file with its bytes, for all or none: nothing is written while one name is unfit."""
    config = reading.config_map(deployment)
    for name in config:
        if not name.startswith("/") or name.endswith("/") or "\0" in name:
            raise MetadataError(f"{name[:80]!r} is no absolute file name; start it with /")
    return {place.root / os.path.normpath(name).lstrip("/"): writing.as_json(value) for name, value in config.items()}
