"""Values that unit tests are made of: what Heat recorded, JSON of any shape, deployments and entries in one line."""

import json
from typing import Any

from hypothesis import strategies as st

from agent import parse
from agent.model import Deployment, Entry, Json, JsonMap
from tests.conftest import CHECKOUT

RECORDED = CHECKOUT / "tests/fixtures/heat"


def recorded(name: str) -> dict[str, Any]:
    """A file of tests/fixtures/heat."""
    content: dict[str, Any] = json.loads((RECORDED / f"{name}.json").read_text("utf-8"))
    return content


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
JSON_MAPS = st.dictionaries(st.text(max_size=4), JSON, max_size=4)


def heat_input(name: str, value: Json, kind: str = "String") -> JsonMap:
    return {"name": name, "type": kind, "value": value, "description": ""}


def raw(identity: Json = "d1", *inputs: JsonMap, **fields: Json) -> JsonMap:
    """An element of Heat's list."""
    return {
        "id": identity,
        "name": "web",
        "group": "script",
        "creation_time": "2026-11-21T00:19:57Z",
        "config": "#!/bin/sh\n",
        "inputs": list(inputs),
        "outputs": [],
        "options": {},
        **fields,
    }


def deployment(identity: str, *, group: str = "script", source: str = "cfn") -> Deployment:
    [parsed] = parse.deployments(parse.document(source, {"deployments": [raw(identity, group=group)]})).deployments
    return parsed


def entry(key: str, progress: str, **fields: Any) -> Entry:
    return Entry(key, progress, **{"id": key, "source": "cfn", **fields})
