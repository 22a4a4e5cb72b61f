"""Group `files`: the config is a document of files (docs/files.md), placed all or nothing.

What an entry replaced comes back when it leaves the document, and everything comes back when the deployment is deleted.
"""

from __future__ import annotations

from agent import masking
from agent.apply import files, files_document, report
from agent.apply.notify import Systemd
from agent.apply.place import Change
from agent.errors import AgentError, MetadataError, Unavailable
from agent.hooks import reading
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome

REFUSES_USER = "it places the guest's files and keeps their originals, which is root's to do; entries name their owner"


def run(deployment: Deployment, place: Workplace) -> Outcome:
    try:
        config = {} if deployment.action == "DELETE" else reading.config_map(deployment)
        entries = files_document.parse(config)
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    try:
        with files.locked(place.working, deployment.name):
            plan = files.plan(entries, place.root, place.working, name_of(deployment), files.fetch)
            files.apply(plan, Systemd())
    except AgentError as exc:
        return Outcome(1, "", f"files for '{deployment.name}' were not applied: {exc}\n")
    return Outcome(0, report.table(plan.changes), "".join(f"{warning}\n" for warning in plan.act.warnings))


def foresee(deployment: Deployment, place: Workplace) -> tuple[Change, ...]:
    config = {} if deployment.action == "DELETE" else reading.config_map(deployment)
    entries = files_document.parse(config)
    return files.plan(entries, place.root, place.working, name_of(deployment), _leave).changes


def _leave(url: str) -> bytes:
    raise Unavailable(f"{masking.text(url)} is fetched by a run alone")


def name_of(deployment: Deployment) -> str:
    """What stays the same over the updates of a deployment: stack and resource, its name where Heat does not say."""
    values = reading.input_values(deployment)
    stack, resource = values.get("deploy_stack_id"), values.get("deploy_resource_name")
    return f"{stack}/{resource}" if stack and resource else deployment.name
