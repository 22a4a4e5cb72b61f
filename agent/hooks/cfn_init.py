"""Group `cfn-init`: the config is what `AWS::CloudFormation::Init` would hold; cfn-init executes it.

The contract is heat-agents' hook-cfn-init.py: the config becomes the `last_metadata` that cfn-init falls back to, then
cfn-init runs without arguments.
"""

from __future__ import annotations

import json

from agent.errors import MetadataError
from agent.hooks import workplace
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome

VARIABLE = "HEAT_CFN_INIT_CMD"
METADATA_DIRECTORY = "/var/cache/heat-cfntools"


def run(deployment: Deployment, place: Workplace) -> Outcome:
    try:
        metadata = {"AWS::CloudFormation::Init": workplace.config_map(deployment)}
    except MetadataError as exc:
        return workplace.data_fault(deployment, exc)
    argv = workplace.command(place, VARIABLE, "cfn-init")
    if not argv:
        advice = f"cfn-init is not on PATH; install heat-cfntools, or name the program in {VARIABLE}"
        return workplace.missing_tool(place, deployment, VARIABLE, advice)
    path = place.path("HEAT_CFN_INIT_LAST_METADATA_DIR", METADATA_DIRECTORY) / "last_metadata"
    try:
        workplace.make_directories(path.parent)
        workplace.write_file(
            path, json.dumps(metadata).encode(), 0o700, durable=True
        )  # the mode that heat-cfntools gives it
    except OSError as exc:
        return workplace.not_written(deployment, path, exc)
    return workplace.run_tool(place, deployment, argv)
