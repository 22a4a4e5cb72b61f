"""What the next cycle would do, from the state on disk and the last documents, or from the sources; nothing is touched.

Each decision is made by who makes it in a cycle: `plan`, the placer's `check`, the judge of cfn-init documents, the
policy. Executable templates are programs, so they are named and not run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent import cleaning, dispatch, hooks, jsontext, layout, model, phases, refresh, runner
from agent.apply import cfn, cfn_files, templates, values
from agent.apply.cfn_model import INIT, Config
from agent.apply.place import UNCHANGED, Change, check
from agent.documents import Glass
from agent.errors import ApplyError, MetadataError, Unavailable
from agent.hooks import reading, workplace
from agent.metadata import Metadata
from agent.model import Deployment, Document, Entry, JsonMap, Outcome
from agent.plan import Hold, Phases, Run, Signal, Step, phases_due, plan, withdrawn
from agent.settings import Given, Settings
from agent.trust import judge
from agent.view import guest
from agent.view.guest import Guest

RUN, FAIL, SIGNAL, HOLD = "run", "fail", "signal", "hold"
CANCEL, DROP, CLEAN, REBOOT = "cancel", "drop", "clean up", "reboot"


@dataclass(frozen=True, slots=True)
class Due:
    """What would become of one deployment, and why.

    `sections` are those of a cfn-init document: section -> names; `changes` are its files, as far as they are known.
    """

    key: str
    name: str
    group: str
    step: str
    why: str
    hook: str = ""
    sections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Files:
    """What applying the templates would change. `fault` is why they cannot be applied; `programs` were not run."""

    changes: tuple[Change, ...] = ()
    programs: tuple[Path, ...] = ()
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Ahead:
    """All of it. `scripts` are the phases that would be run, "" as `phases` means that they would not."""

    sources: tuple[str, ...]
    faults: Mapping[str, str]
    phases: str
    scripts: Mapping[str, tuple[str, ...]]
    files: Files
    deployments: tuple[Due, ...]

    @property
    def nothing(self) -> bool:
        """Whether a cycle would leave everything as it is."""
        return not self.phases and not self.deployments


def look(given: Given, *, fetch: bool) -> Ahead:
    """Look ahead. `fetch` asks the sources, and tells none of them that it was heard.

    Raises AgentError when the state or the settings cannot be read.
    """
    seen = guest.read(given.settings(), everything=True)
    metadata = Metadata(given, time.time, shelf=Glass(seen.documents))
    metadata.open()
    if fetch:
        metadata.collect()
    settings, standing, now = metadata.settings, metadata.standing(), time.time()
    listed = {deployment.key: deployment for deployment in metadata.deployments()}
    stand = refresh.standing(settings, standing, phases_record(seen))
    run_phases = phases_due(stand, now)
    if run_phases:  # and let through whom they would: nobody waits for more than their turn
        stand = replace(stand, running=True, admitted=frozenset(listed))
    deployments = _deployments(listed, seen, metadata, stand, now)
    applied = run_phases or any(due.step == RUN and due.group in model.ANSWERED_BY_TEMPLATES for due in deployments)
    return Ahead(
        sources=tuple(dict.fromkeys(document.source for document in standing)),
        faults=dict(metadata.faults),
        phases=_why_phases(stand) if run_phases else "",
        scripts=_scripts(settings) if run_phases else {},
        files=_files(settings, standing) if applied else Files(),
        deployments=deployments,
    )


# ------------------------------------------------------------------------------------------------- phases


def phases_record(seen: Guest) -> JsonMap:
    """What the last run of the phases left; {} when there was none."""
    path = seen.places.state / refresh.RECORD
    with suppress(OSError, MetadataError):  # never run, or damaged: either way they would run
        return jsontext.decode_map(path.read_bytes(), str(path))
    return {}


def _why_phases(stand: Phases) -> str:
    if stand.failing_since:
        return "they failed last"
    return "the metadata changed since they last succeeded" if stand.succeeded else "they never succeeded here"


def _scripts(settings: Settings) -> Mapping[str, tuple[str, ...]]:
    base = layout.phases(os.environ, settings.root, settings.phases_dir)[0]
    return phases.planned(base, os.environ, (phases.TEMPLATES, phases.DISPATCH))


def _files(settings: Settings, standing: Iterable[Document]) -> Files:
    root = Path(layout.templates(os.environ, settings.root, settings.templates_dir)[0])
    try:
        metadata = values.of_documents(standing, settings.deployment_key, settings.root)
        found = templates.tree(root)
        texts = [template for template in found if template.kind != templates.PROGRAM]
        timeout_s = settings.template_timeout
        changes = check(templates.rendered(texts, settings.root, metadata, os.environ, timeout_s=timeout_s))
    except (ApplyError, MetadataError) as exc:
        return Files(fault=str(exc))
    programs = tuple(settings.root / t.target for t in found if t.kind == templates.PROGRAM)
    return Files(_due_changes(changes), programs)


# -------------------------------------------------------------------------------------------- deployments


def _deployments(
    listed: Mapping[str, Deployment], seen: Guest, metadata: Metadata, stand: Phases, now: float
) -> tuple[Due, ...]:
    settings = metadata.settings
    entries = {known.entry.key: known.entry for known in seen.deployments}
    entries |= {key: guest.entry(key, seen.places) for key in listed.keys() - entries.keys()}
    names = {known.entry.key: known.deployment.name for known in seen.deployments}
    answering = {document.source for document in metadata.standing()} - metadata.faults.keys() | {""}
    steps = plan(
        listed.values(),
        {key: _settled(deployment, entries[key]) for key, deployment in listed.items()},
        has_hook=lambda group: hooks.find(group, settings, os.environ) is not None,
        now=now,
        grace_s=settings.hook_grace,
        phases=stand,
    )
    left = [
        Due(e.key, names[e.key], e.group, DROP if e.progress == model.FINISHED else CANCEL, "no longer listed")
        for e in withdrawn(listed.values(), entries, answering)
    ]
    cleaned = [
        Due(e.key, names[e.key], e.group, CLEAN, "its containers may be left over")
        for e in cleaning.left(entries.values(), listed, metadata.named)
        if answering >= set(seen.bulletin.sources)
    ]
    rebooting = [
        Due(key, deployment.name, deployment.group, REBOOT, "its hook asked for a reboot")
        for key, deployment in listed.items()
        if entries[key].progress == model.REBOOTING
    ]
    return (*left, *cleaned, *rebooting, *(_due(step, entries, settings) for step in steps))


def _settled(deployment: Deployment, entry: Entry) -> Entry:
    """Where a cycle would take an interrupted deployment before it plans."""
    if entry.progress != model.INTERRUPTED:
        return entry
    again = deployment.manner.rerun and dispatch.may_rerun(entry)
    return replace(entry, progress=model.RECEIVED if again else model.FINISHED)


def _due(step: Step, entries: Mapping[str, Entry], settings: Settings) -> Due:
    deployment, entry = step.deployment, entries[step.deployment.key]
    due = Due(deployment.key, deployment.name, deployment.group, RUN, _why_run(entry))
    match step:
        case Signal():
            interrupted = entry.progress == model.INTERRUPTED
            return replace(due, step=SIGNAL, why="it was interrupted" if interrupted else "its outcome waits")
        case Hold() if step.for_phases:
            return replace(due, step=HOLD, why="the phases come first")
        case Hold():
            return replace(due, step=HOLD, why=hooks.missing(deployment.group, settings, os.environ))
        case Run():
            return _run(deployment, due, settings)


def _why_run(entry: Entry) -> str:
    if entry.progress == model.INTERRUPTED:
        return f"it was interrupted and asks for a rerun, attempt {entry.attempt + 1}"
    return "its mark was removed" if entry.progress == model.UNKNOWN and entry.id else "it is new"


def _run(deployment: Deployment, due: Due, settings: Settings) -> Due:
    """What the runner would make of it: another hook than this may answer, or a refusal."""
    if refusal := judge.refusal(deployment, settings):
        return replace(due, step=FAIL, why=refusal)
    hook = runner.hook_of(deployment, settings, os.environ)
    if isinstance(hook, Outcome):
        return replace(due, step=FAIL, why=str(hook.stderr).strip())
    due = replace(due, hook=str(hook.path) if hook.path else "built in")
    try:
        if deployment.group == "cfn-init" and not hook.path:
            return _cfn_init(deployment, due)
        place = workplace.workplace(deployment, hooks.clean(deployment.group), settings, os.environ)
        return replace(due, changes=_due_changes(hook.foresee(deployment, place)))
    except (ApplyError, MetadataError) as exc:
        return replace(due, step=FAIL, why=str(exc))
    except (OSError, Unavailable) as exc:
        return replace(due, why=f"{due.why}; its files are not known before: {exc}")


def _cfn_init(deployment: Deployment, due: Due) -> Due:
    configs = cfn.plan({INIT: reading.config_map(deployment)}).configs
    due = replace(due, sections=sections(configs))
    with suppress(ApplyError):  # a user of the document's own, say, who is not there yet
        return replace(due, changes=_due_changes(cfn_files.foresee(file for c in configs for file in c.files)))
    return due


def _due_changes(changes: Iterable[Change]) -> tuple[Change, ...]:
    return tuple(change for change in changes if change.word != UNCHANGED)


def sections(configs: Iterable[Config]) -> dict[str, tuple[str, ...]]:
    """The names in each section of cfn-init configs, in the order in which they are applied."""
    listed = tuple(configs)
    found = {
        "packages": [" ".join((p.manager, p.name, *p.versions)) for c in listed for p in c.packages],
        "groups": [group.name for c in listed for group in c.groups],
        "users": [user.name for c in listed for user in c.users],
        "sources": [source.directory for c in listed for source in c.sources],
        "files": [file.path for c in listed for file in c.files],
        "commands": [command.name for c in listed for command in c.commands],
        "services": [f"{service.manager} {service.name}" for c in listed for service in c.services],
    }
    return {section: tuple(names) for section, names in found.items() if names}
