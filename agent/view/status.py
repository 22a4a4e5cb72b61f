"""What stands how, and what to do about it: `Guest` -> `Status`. Pure.

Every state but `done` and `running` comes with a next step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent import model
from agent.bulletin import PHASES_RUN
from agent.model import JsonMap
from agent.view.guest import Guest, Known
from agent.view.page import ago, plain, span

FINE, FAILED, DEGRADED = 0, 1, 2
LONG_NAME = 40
WATCH_S = 60.0  # a hook that runs longer gets a next step, too
HEALTH = {FINE: "fine", FAILED: "failed", DEGRADED: "degraded"}
STATES = (
    *("waiting", "held", "running", "rebooting", "interrupted", "unsignalled"),
    *("refused", "done", "failed", "withdrawn"),
)
PENDING = frozenset(STATES[:6])
_TROUBLED = frozenset({"held", "interrupted", "unsignalled", "refused"})


@dataclass(frozen=True, slots=True)
class Line:
    """One deployment in one word. `since` is when that began, `detail` what else is to be known."""

    known: Known
    state: str
    since: float
    detail: str = ""
    next_step: str = ""

    @property
    def failed(self) -> bool:
        return self.known.listed and self.known.failed and self.state != "withdrawn"


@dataclass(frozen=True, slots=True)
class Source:
    """`changed_at` is the age of its last good document, 0 when there was none."""

    name: str
    changed_at: float
    since: float
    fault: str


@dataclass(frozen=True, slots=True)
class Status:
    guest: Guest
    sources: tuple[Source, ...]
    lines: tuple[Line, ...]
    fault: str
    next_step: str
    ending: tuple[tuple[str, float], ...] = ()

    @property
    def pending(self) -> bool:
        """Whether something is still to happen by itself, an agent's first look since the boot included."""
        looked = self.guest.bulletin.started_at >= self.guest.booted_at and self.guest.bulletin.pid
        return not looked or any(line.state in PENDING for line in self.lines)

    @property
    def health(self) -> int:
        """The exit status: a failure weighs more than what may still come right."""
        if any(line.failed for line in self.lines):
            return FAILED
        faulty = self.fault or any(source.fault for source in self.sources)
        return DEGRADED if faulty or any(line.state in _TROUBLED for line in self.lines) else FINE


def judge(guest: Guest, now: float) -> Status:
    lines = tuple(_line(known, guest, now) for known in guest.deployments)
    waiting = sum(line.state in ("waiting", "held", "rebooting") for line in lines)
    fault = next_step = ""
    if not guest.agent and not guest.bulletin.pid and not lines:
        fault, next_step = "no agent has run here", "start it: agent run, or agent --once"
    elif not guest.bulletin.sources and not guest.documents:
        fault = "no source of metadata is configured, so nothing can be deployed"
        next_step = (
            "let cloud-init leave its cfn-init-data (see heat_local.path), or name a source: --request-metadata-url, "
            "--local-path or a file in /etc/os-deploy-agent"
        )
    elif not guest.agent and waiting:
        fault = f"no agent runs, and {_count(waiting, 'deployment')} wait{'s' if waiting == 1 else ''} for one"
        next_step = "start it: agent run, or agent --once"
    elif waiting and guest.bulletin.phases not in ("", PHASES_RUN):
        fault = f"the phases of this guest fail: {guest.bulletin.phases}"
        next_step = "mend that; they are run again by themselves"
    return Status(guest, tuple(_sources(guest)), lines, fault, next_step, guest.ending(now))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _sources(guest: Guest) -> Iterator[Source]:
    posted = guest.bulletin.sources
    for name in dict.fromkeys((*posted, *(document.source for document in guest.documents))):
        changed_at = max((d.fetched_at for d in guest.documents if d.source == name), default=0.0)
        source = posted.get(name)
        yield Source(name, changed_at, source.since if source else 0.0, source.fault if source else "")


def _line(known: Known, guest: Guest, now: float) -> Line:
    entry = known.entry
    match entry.progress:
        case model.UNKNOWN | model.RECEIVED:
            return _waiting(known, guest, now)
        case model.RUNNING:
            return Line(known, "running", known.began_at, f"pid {known.pid}" if known.pid else "", _watch(known, now))
        case model.INTERRUPTED:
            detail = "its runner ended without an outcome"
            return Line(known, "interrupted", known.began_at, detail, "the agent signals that at its next look")
        case model.REBOOTING:
            detail = f"asked for reboot {max(entry.reboots, 1)}"
            return Line(known, "rebooting", known.ended_at, detail, "it is run again after the reboot of this machine")
        case model.FINISHED:
            return Line(known, "unsignalled", known.ended_at, _said(known), _tries(known, now))
        case model.REFUSED:
            step = f"agent signal {short(known)}, or update the stack; {entry.reason}"
            return Line(known, "refused", known.settled_at, _said(known), step)
        case model.SUPERSEDED:
            return Line(known, "withdrawn", known.settled_at, entry.reason)
        case _ if known.failed:
            return Line(known, "failed", known.ended_at, _said(known), f"agent show {short(known)}")
        case model.FOREIGN:
            return Line(known, "done", known.began_at, "by the old tools")
        case _:
            return Line(known, "done", known.ended_at, f"took {span(known.ended_at - known.began_at)}")


def _waiting(known: Known, guest: Guest, now: float) -> Line:
    since = known.came_at
    if not known.listed:
        return Line(known, "withdrawn", since, "no source lists it")
    if guest.bulletin.phases:
        return Line(known, "waiting", since, "for the phases of this guest", _agentless(guest))
    if known.held_until > now:
        step = f"install a hook for group {known.deployment.group} within {span(known.held_until - now)}, or it fails"
        return Line(known, "held", since, "", step)
    before = [other.deployment.name for other in guest.deployments if other.entry.progress == model.RUNNING]
    detail = f"behind {', '.join(before)}" if before else ""
    return Line(known, "waiting", since, detail, _agentless(guest))


def _agentless(guest: Guest) -> str:
    return "" if guest.agent else "start the agent"


def _watch(known: Known, now: float) -> str:
    limit = known.deployment.options.get("timeout")
    left = f"; it is ended after {span(float(limit))}" if isinstance(limit, (int, float)) and limit > 0 else ""
    return f"agent log {short(known)} --follow{left}" if now - known.began_at > WATCH_S else ""


def _tries(known: Known, now: float) -> str:
    entry = known.entry
    if not entry.tries:
        return "it is sent once its source has answered"
    again = f"again in {span(entry.next_try_at - now)}" if entry.next_try_at > now else "due now"
    return f"{_count(entry.tries, 'try').replace('trys', 'tries')}, {again}; {entry.reason}"


def _said(known: Known) -> str:
    """What an outcome says of itself, in one line."""
    if not known.failed:
        return f"status 0, took {span(known.ended_at - known.began_at)}"
    if not known.status:
        return f"error output {', '.join(model.failing_outputs(known.deployment, known.outcome))}"
    stderr = known.outcome.get("deploy_stderr") or known.outcome.get("deploy_stdout") or ""
    last = next((line for line in reversed(str(stderr).splitlines()) if line.strip()), "")
    return f"status {known.status}" + (f": {plain(last.strip())}" if last else "")


def renewal(name: str) -> str:
    """What to do about a certificate that ends."""
    return "whoever runs that server renews it" if "://" in name else "put a new one into that file"


def short(known: Known) -> str:
    """What an operator may type for it: its name where that is a short word, else its id."""
    name = known.deployment.name
    plain_word = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if plain_word and len(name) <= LONG_NAME else known.entry.key


def as_json(status: Status, now: float) -> JsonMap:
    """The same for programs. Times are seconds of the epoch, 0 for never."""
    guest = status.guest
    return {
        "status": HEALTH[status.health],
        "pending": status.pending,
        "fault": status.fault,
        "next_step": status.next_step,
        "at": now,
        "agent": {
            "running": bool(guest.agent),
            "command": guest.agent,
            "pid": guest.pid,
            "started_at": guest.bulletin.started_at,
        },
        "sources": [
            {"name": s.name, "changed_at": s.changed_at, "since": s.since, "fault": s.fault} for s in status.sources
        ],
        "certificates": [
            {"name": name, "ends_at": end, "soon": (name, end) in status.ending}
            for name, end in guest.bulletin.certificates.items()
        ],
        "deployments": [
            {
                "id": line.known.deployment.id or line.known.entry.key,
                "name": line.known.deployment.name,
                "group": line.known.deployment.group,
                "action": line.known.deployment.action,
                "source": line.known.entry.source or line.known.deployment.source,
                "state": line.state,
                "since": line.since,
                "failed": line.failed,
                "detail": line.detail,
                "next_step": line.next_step,
            }
            for line in status.lines
        ],
    }


def since(line: Line, now: float) -> str:
    return ago(line.since, now) if line.state in ("done", "failed", "withdrawn", "refused") else span(now - line.since)
