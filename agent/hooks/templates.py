"""Groups `os-apply-config` and `Heat::Ungrouped`: the deployment is part of the metadata, and applying that answers it.

The guest's templates are rendered from all documents at hand and placed, all or nothing. The phases did so before, so
that hardly anything changes here; the old tools answered in a script of tripleo-image-elements.
"""

from __future__ import annotations

from agent import model, ownership
from agent.apply import compiled, install, report, templates
from agent.errors import ApplyError
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome

REFUSES_USER = "it places the guest's templates from metadata that root alone may read"


def run(deployment: Deployment, place: Workplace) -> Outcome:
    try:
        if others := ownership.tree_writable_by_others(place.templates):
            return Outcome(model.STATUS_REFUSED, "", f"templates for '{deployment.name}' are not used: {others}\n")
        metadata = place.metadata()
        wanted = templates.placements(
            place.templates,
            place.root,
            metadata,
            place.environ,
            timeout_s=place.timeout_s,
            keep_in=place.root / compiled.PLACE.lstrip("/"),
        )
        changes = install.install(wanted)
    except ApplyError as exc:
        return Outcome(model.STATUS_DATA, "", f"templates for '{deployment.name}' were not applied: {exc}\n")
    return Outcome(0, report.table(changes) or f"no templates in {place.templates}: nothing to apply\n")
