"""Group `apply-config`: os-apply-config renders the guest's templates once more.

The contract is heat-agents' hook-apply-config.py: the deployment says when, not what. All merged metadata is applied,
so config and inputs are not looked at. Without an os-apply-config of the guest the agent's own does it.
"""

from __future__ import annotations

from agent.hooks import tools
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome

VARIABLE = "HEAT_APPLY_CONFIG_CMD"
REFUSES_USER = "it places the guest's templates from metadata that root alone may read"


def run(deployment: Deployment, place: Workplace) -> Outcome:
    argv = tools.command(place, VARIABLE, "os-apply-config")
    if not argv and not place.environ.get(VARIABLE):
        argv = tools.own(place, "os-apply-config")
    if not argv:
        advice = f"os-apply-config is not on PATH; install it, or name it in {VARIABLE}"
        return tools.missing_tool(place, deployment, VARIABLE, advice)
    return tools.run_tool(place, deployment, argv)
