"""Group `cfn-init`: the config is what `AWS::CloudFormation::Init` would hold; cfn-init executes it.

The contract is heat-agents' hook-cfn-init.py: the config becomes the `last_metadata` that cfn-init falls back to, then
cfn-init runs without arguments: the guest's, else the agent's own.
"""

from __future__ import annotations

import json

from agent.errors import MetadataError
from agent.hooks import reading, tools, writing
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome

VARIABLE = "HEAT_CFN_INIT_CMD"
DIRECTORY_VARIABLE = "HEAT_CFN_INIT_LAST_METADATA_DIR"
METADATA_DIRECTORY = "/var/cache/heat-cfntools"
REFUSES_USER = "cfn-init installs packages, makes users and starts services, which is root's to do"


def run(deployment: Deployment, place: Workplace) -> Outcome:
    try:
        metadata = {"AWS::CloudFormation::Init": reading.config_map(deployment)}
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    path = place.path(DIRECTORY_VARIABLE, METADATA_DIRECTORY) / "last_metadata"
    argv = tools.command(place, VARIABLE, "cfn-init")
    if not argv and not place.environ.get(VARIABLE) and str(path.parent) == METADATA_DIRECTORY:
        argv = tools.own(place, "cfn-init")  # reads the last metadata where the old tools keep them
    if not argv:
        advice = f"cfn-init is not on PATH; install heat-cfntools, or name the program in {VARIABLE}"
        return tools.missing_tool(place, deployment, VARIABLE, advice)
    try:
        writing.make_directories(path.parent)
        mode = 0o700  # as heat-cfntools gives it
        writing.write_file(path, json.dumps(metadata).encode(), mode, durable=True)
    except OSError as exc:
        return writing.not_written(deployment, path, exc)
    return tools.run_tool(place, deployment, argv)
