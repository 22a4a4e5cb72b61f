"""Group `json-file`: each key of the config is the name of a file, its value becomes that file's content as JSON.

The contract is heat-agents' hook-json-file.py, but for the mode: a new file is for its owner alone (0600), because
configs hold passwords; a file that is there keeps its mode and owner, which is how another one is chosen.
"""

from __future__ import annotations

import os

from agent.errors import ApplyError, MetadataError
from agent.hooks import reading, writing
from agent.hooks.user import acting_as
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, Outcome

REFUSES_USER = ""


def run(deployment: Deployment, place: Workplace) -> Outcome:
    try:
        contents = _contents(reading.config_map(deployment))
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    try:
        with acting_as(place.user):
            writing.place({place.root / os.path.normpath(name).lstrip("/"): data for name, data in contents.items()})
    except (OSError, ApplyError) as exc:
        return writing.not_placed(deployment, exc)
    return Outcome(0)


def _contents(config: dict[str, Json]) -> dict[str, bytes]:
    """File name -> bytes, for all or none: nothing is written while one name is unfit."""
    for name in config:
        if not name.startswith("/") or name.endswith("/") or "\0" in name:
            raise MetadataError(f"{name[:80]!r} is no absolute file name; start it with /")
    return {name: writing.as_json(value) for name, value in config.items()}
