"""`heat-config-rebuild-deployed`: every deployment of the metadata counts as done, for a guest that lost its marks.

The marks are empty files, as the old tool made them: to the agent they are the work of another.
"""

from __future__ import annotations

import os
import sys

from agent import model, parse, state
from agent.apply import values
from agent.cli import compat
from agent.metadata import places
from agent.model import Deployment


def main(_name: str, _argv: list[str]) -> int:
    where = places(compat.settings_of(os.environ))
    deployments = _deployments()
    print(f"Found {len(deployments)} deployments.")
    state.make_directory(where.deployed)
    for deployment in deployments:
        if deployment.group in model.ANSWERED_BY_TEMPLATES:
            print(f"Skipping creating deployed file for deployment {deployment.id} as it is group:{deployment.group}")
            continue
        mark = where.mark(deployment.key)
        print(f"Creating {mark} so that deployment will not be re-run")
        if not mark.exists():
            state.write(mark, b"")
    return 0


def _deployments() -> tuple[Deployment, ...]:
    """What os-apply-config would read, each deployment that has an id."""
    paths, _ = values.sources(os.environ, None)
    metadata = values.read([*values.FALLBACK, *paths])
    parsed = parse.deployments(parse.document("metadata", metadata))
    for problem in parsed.problems:
        print(f"heat-config-rebuild-deployed: {problem}", file=sys.stderr)
    return tuple(deployment for deployment in parsed.deployments if deployment.id)
