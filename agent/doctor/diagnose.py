"""Evidence becomes findings, and the findings a cause. Pure.

Each step of a deployment's way gets at least one finding. The cause is the finding that hides the others: see `causes`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from agent import model
from agent.doctor.causes import BY_CODE, ORDER, Cause
from agent.doctor.evidence import ABSENT, Evidence
from agent.view import status
from agent.view.guest import Guest, Known
from agent.view.page import ago, ending, span

OK, ODD, BAD = "ok", "odd", "bad"
ROOM, INODES = 1 << 20, 16
_FINE = frozenset({"nothing-wrong", "hook-running", "nothing-listed", "superseded", "waits-behind"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found at one step. `code` names the cause that it points to, "" when it points to none."""

    step: str
    mark: str
    text: str
    code: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    findings: tuple[Finding, ...]
    cause: Cause
    about: str

    @property
    def fine(self) -> bool:
        """Whether there is nothing that somebody would have to mend."""
        return self.cause.code in _FINE


def diagnose(evidence: Evidence) -> Diagnosis:
    steps: tuple[Callable[[Evidence], Iterator[Finding]], ...] = (
        _settings,
        _state,
        _agent,
        _bootstrap,
        _sources,
        _listed,
        _deployments,
        _endpoints,
        _certificates,
    )
    findings = tuple(finding for step in steps for finding in step(evidence))
    pointing = [finding for finding in findings if finding.code]
    first = min(pointing, key=lambda finding: ORDER[finding.code], default=None)
    if first is None:
        return Diagnosis(findings, BY_CODE["nothing-wrong"], "")
    return Diagnosis(findings, BY_CODE[first.code], f"{first.step}: {first.text}")


def _settings(evidence: Evidence) -> Iterator[Finding]:
    if evidence.settings_fault:
        yield Finding("settings", BAD, evidence.settings_fault, "settings-broken")
    else:
        yield Finding("settings", OK, "can be read")


def _state(evidence: Evidence) -> Iterator[Finding]:
    disk = evidence.disk
    if disk and disk.read_only:
        yield Finding("disk", BAD, f"{disk.path} is on a read-only disk", "disk-read-only")
    elif disk and (disk.free_bytes < ROOM or disk.free_inodes < INODES):
        yield Finding("disk", BAD, f"{disk.path}: {disk.free_bytes} bytes, {disk.free_inodes} inodes left", "disk-full")
    elif disk:
        yield Finding("disk", OK, f"{disk.free_bytes >> 20} MiB free at {disk.path}")
    if evidence.state_fault:
        yield Finding("state", BAD, evidence.state_fault, "state-unreadable")


def _agent(evidence: Evidence) -> Iterator[Finding]:
    guest = evidence.guest
    if guest is None:
        return
    if evidence.unit and not evidence.unit.startswith(("active", "inactive", "reloading", "deactivating")):
        yield Finding("agent", BAD, f"its unit is {evidence.unit}", "agent-failing")
    elif guest.agent:
        yield Finding("agent", OK, f"{guest.agent}, pid {guest.pid}")
    else:
        waiting = [k.deployment.name for k in guest.deployments if k.listed and k.entry.progress in _WAITING]
        text = f"none runs, {len(waiting)} wait" if waiting else "none runs, nothing waits"
        needed = bool(waiting) or not (guest.documents or _tried(guest))
        yield Finding("agent", BAD if needed else OK, text, "agent-not-running" if needed else "")
    for name, source in guest.bulletin.sources.items():
        if source.fault and not any(asked.name == name for asked in evidence.sources):
            text = f"{name} since {ago(source.since, evidence.now)}: {source.fault}"
            yield Finding("agent", ODD, text, "source-unanswered")


def _tried(guest: Guest) -> bool:
    """Whether an agent has asked a source in vain: then that source is the cause, not what is missing beside it."""
    return any(source.fault for source in guest.bulletin.sources.values())


_WAITING = frozenset({model.UNKNOWN, model.RECEIVED, model.FINISHED, model.INTERRUPTED})


def _bootstrap(evidence: Evidence) -> Iterator[Finding]:
    if evidence.bootstrap and all(fault == ABSENT for fault in evidence.bootstrap.values()):
        yield Finding("bootstrap", ODD, f"cloud-init left nothing; looked for {', '.join(evidence.bootstrap)}")
        return
    for path, fault in evidence.bootstrap.items():
        yield Finding("bootstrap", ODD if fault else OK, f"{path} {fault}".rstrip())


def _sources(evidence: Evidence) -> Iterator[Finding]:
    for asked in evidence.sources:
        step = f"source {asked.name}"
        where = f"{asked.reached.shown}: " if asked.reached else ""
        if asked.reached and asked.reached.code == "clock-skew":
            yield Finding(step, BAD, f"{where}{asked.reached.text}", "clock-skew")
        if not asked.kind:
            yield Finding(step, OK, f"{where}answers")
        elif asked.name in ("heat_local", "local", "config_drive", "ec2"):
            code = {"heat_local": "bootstrap-unreadable", "local": "source-unanswered"}.get(asked.name, "")
            yield Finding(step, BAD if code else ODD, asked.text, code)
        else:
            yield Finding(step, BAD, f"{where}{asked.text}" if where not in asked.text else asked.text, asked.kind)
    network = [asked for asked in evidence.sources if asked.name not in ("ec2", "config_drive")]
    if forgotten := _forgotten(evidence):
        yield Finding("sources", BAD, f"{forgotten}, which these settings do not name", "flags-missing")
    elif evidence.guest is not None and evidence.sources and not network:
        yield Finding("sources", BAD, "none is configured", "no-bootstrap")
    elif evidence.guest and not evidence.sources and not evidence.guest.documents and not _tried(evidence.guest):
        yield Finding("sources", BAD, "none has ever answered", "no-bootstrap")


def _forgotten(evidence: Evidence) -> str:
    """The sources that answered the last agent, which knew them by flags or variables of its own; "" for none."""
    if evidence.guest is None:
        return ""
    posted = evidence.guest.bulletin
    known = [name for name, source in posted.sources.items() if name not in evidence.named and not source.fault]
    return f"{posted.command} asked {', '.join(known)}" if known else ""


def _listed(evidence: Evidence) -> Iterator[Finding]:
    if evidence.guest is None:
        return
    if not evidence.listed:
        yield Finding("deployments", ODD, "none is listed", "nothing-listed")
        return
    yield Finding("deployments", OK, f"{evidence.listed} listed")
    done = {k.deployment.name for k in evidence.guest.deployments if k.entry.progress not in _UNDONE}
    for ready in evidence.ready:
        if ready.kind and ready.name not in done:
            yield Finding(f"deployment {ready.name}", BAD, ready.text, ready.kind)


_UNDONE = frozenset({model.UNKNOWN, model.RECEIVED})


def _deployments(evidence: Evidence) -> Iterator[Finding]:
    guest = evidence.guest
    for known in guest.deployments if guest else ():
        if guest and (known.listed or known.entry.progress == model.SUPERSEDED):
            yield _deployment(known, guest, evidence.now)


def _deployment(known: Known, guest: Guest, now: float) -> Finding:
    step, entry = f"deployment {known.deployment.name}", known.entry
    match entry.progress:
        case model.RUNNING:
            return Finding(step, OK, f"runs since {span(now - known.began_at)}", "hook-running")
        case model.INTERRUPTED:
            return Finding(step, BAD, "its runner ended without an outcome", "interrupted")
        case model.REBOOTING:
            return Finding(step, BAD, "asked for a reboot", "reboot-pending")
        case model.FINISHED:
            return _unsent(known, step)
        case model.REFUSED:
            return Finding(step, BAD, entry.reason, _refusal(entry.reason))
        case model.SUPERSEDED:
            return Finding(step, ODD, entry.reason, "superseded")
        case model.UNKNOWN | model.RECEIVED:
            return _waiting(known, guest, step)
        case _ if known.failed:
            return Finding(step, BAD, *_failure(known))
        case _:
            return Finding(step, OK, f"done, {entry.progress}")


def _waiting(known: Known, guest: Guest, step: str) -> Finding:
    if guest.bulletin.phases:
        return Finding(step, BAD, f"waits for the phases: {guest.bulletin.phases}", "phases-fail")
    before = [k.deployment.name for k in guest.deployments if k.entry.progress == model.RUNNING]
    if before:
        return Finding(step, ODD, f"waits behind {', '.join(before)}", "waits-behind")
    return Finding(step, ODD, "waits")


def _unsent(known: Known, step: str) -> Finding:
    if not known.entry.tries:
        return Finding(step, ODD, "its outcome was not sent yet")
    return Finding(step, BAD, known.entry.reason, _refusal(known.entry.reason, "signal-undelivered"))


def _refusal(reason: str, otherwise: str = "signal-refused") -> str:
    """What the signaller said, by its own words (`signaller.EXPIRED` and around it)."""
    if "of another stack" in reason:
        return "foreign-stack"
    return "url-expired" if "auth_ttl" in reason else otherwise


def _failure(known: Known) -> tuple[str, str]:
    """What a failed outcome says of its cause: text and code."""
    said = str(known.outcome.get("deploy_stderr") or known.outcome.get("deploy_stdout") or "")
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    text = f"failed with {known.status}: {last}" if last else f"failed with {known.status}"
    match known.status:
        case 0:
            names = ", ".join(model.failing_outputs(known.deployment, known.outcome))
            return f"error output {names} has a value", "error-output"
        case model.STATUS_DATA if "cannot be run" in said:
            return text, "malformed"
        case model.STATUS_TIMEOUT:
            return text, "hook-timed-out"
        case model.STATUS_REFUSED:
            return text, "policy-refuses" if "refused by" in said else "hook-unfit"
        case model.STATUS_NOT_FOUND if "not executable" in said:
            return text, "hook-unfit"
        case model.STATUS_NOT_FOUND if "no hook for group" in said:
            return text, "no-hook"
        case model.STATUS_NOT_FOUND if "was not run" in said or "could not be started" in said:
            return text, "tool-missing"
        case model.STATUS_INTERRUPTED if said.startswith("interrupted"):
            return text, "interrupted"
        case _:
            return text, "hook-failed"


def _endpoints(evidence: Evidence) -> Iterator[Finding]:
    for name, reached in evidence.endpoints:
        mark = BAD if reached.code else OK
        yield Finding(f"signal of {name}", mark, f"{reached.shown}: {reached.text}", reached.code)


def _certificates(evidence: Evidence) -> Iterator[Finding]:
    notice_s = evidence.guest.notice_s if evidence.guest else 0.0
    for name, end in evidence.certificates.items():
        soon = end - evidence.now < notice_s
        text = f"{name} {ending(end, evidence.now)}"
        yield Finding("certificate", ODD if soon else OK, text, "certificate-ends" if soon else "")


def as_status(diagnosis: Diagnosis) -> int:
    """The exit status: 0 nothing to mend, 1 something is."""
    return status.FINE if diagnosis.fine else status.FAILED
