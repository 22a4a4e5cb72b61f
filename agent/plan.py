"""What is to be done: deployments and what the journal knows of them become steps. Pure.

Each deployment gets one step or none. Outcomes that wait come first; runs keep Heat's order. Where the guest has
phases, they come first for each change of the metadata, and whom they do not let through is held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

from agent import model
from agent.model import Deployment, Entry


@dataclass(frozen=True, slots=True)
class Run:
    """Hand the deployment to its hook, or answer for it when it has a fault or no hook."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Signal:
    """Send the outcome that is on disk."""

    deployment: Deployment


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait until `until` (seconds since the epoch, infinity when what is waited for tells): for the phases, for the
    source that knows values which our disk did not keep, or for the hook of a group that may still arrive.
    """

    deployment: Deployment
    until: float
    for_phases: bool = False
    for_source: bool = False


Step: TypeAlias = Run | Signal | Hold


@dataclass(frozen=True, slots=True)
class Phases:
    """Where the phases of this guest stand. Times are seconds since the epoch, 0 for never.

    `wanted`, `succeeded` and `failed` are digests of metadata: at hand ("" when the guest has no phases), of the last
    success, of the last failure since this agent began. `admitted` are the keys that a run lets through just now.
    """

    wanted: str = ""
    succeeded: str = ""
    running: bool = False
    admitted: frozenset[str] = frozenset()
    failed: str = ""
    failed_run_at: float = 0.0
    failing_since: float = 0.0
    retry_at: float = 0.0
    patience_s: float = 0.0
    reason: str = ""

    @property
    def settled(self) -> bool:
        return not self.running and self.wanted in ("", self.succeeded)

    def admit(self, key: str) -> bool:
        """Whether a deployment may begin: scripts and hooks take turns."""
        return self.settled or key in self.admitted

    def bound(self, received_at: float) -> float:
        """How long a deployment waits for phases that fail; infinity before a run failed that began after it came."""
        if not self.failing_since or self.failed_run_at < received_at:
            return float("inf")
        return max(self.failing_since, received_at) + self.patience_s


NO_PHASES = Phases()


def phases_due(phases: Phases, now: float) -> bool:
    """Whether the phases are to be run: the metadata is not that of the last success, and no retry is to be awaited."""
    if phases.running or phases.settled:
        return False
    return phases.failed != phases.wanted or now >= phases.retry_at


def plan(
    deployments: Iterable[Deployment],
    journal: Mapping[str, Entry],
    *,
    has_hook: Callable[[str], bool],
    now: float,
    grace_s: float = 0.0,
    fresh: Collection[str] | None = None,
    phases: Phases = NO_PHASES,
) -> tuple[Step, ...]:
    """The steps that are due at `now`.

    `journal` maps keys to entries (a key without one is new), `fresh` names the sources that answered just now, None
    for all: an outcome is sent again only while the newest document still lists its id, because Heat's signal
    carries none and would complete whatever deployment stands there.
    """
    signals: list[Step] = []
    others: list[Step] = []
    seen: set[str] = set()
    for deployment in deployments:
        if deployment.key in seen:
            continue
        seen.add(deployment.key)
        entry = journal.get(deployment.key) or Entry(deployment.key, model.UNKNOWN)
        if entry.progress == model.FINISHED:
            if entry.next_try_at <= now and (fresh is None or deployment.source in fresh):
                signals.append(Signal(deployment))
        elif entry.progress in (model.UNKNOWN, model.RECEIVED):
            if deployment.missing and fresh is not None and deployment.source not in fresh:
                others.append(Hold(deployment, float("inf"), for_source=True))
                continue
            deployment = _answerable(deployment)
            if phases.admit(deployment.key):
                others.append(_run_or_hold(deployment, entry, has_hook, now, grace_s))
            else:
                others.append(_wait_for_phases(deployment, entry, phases, now))
    return (*signals, *others)


def _answerable(deployment: Deployment) -> Deployment:
    """The deployment; with a fault where its own source has just not said what it lacks."""
    if not deployment.missing or deployment.fault:
        return deployment
    names, source = ", ".join(deployment.missing), deployment.source
    why = f"this guest keeps the values of {names} no more, or cannot unseal them, and source {source} did not say them"
    return replace(deployment, fault=f"{why} again; update the deployment to have it run")


def _run_or_hold(
    deployment: Deployment, entry: Entry, has_hook: Callable[[str], bool], now: float, grace_s: float
) -> Step:
    if deployment.fault or has_hook(deployment.group):
        return Run(deployment)
    until = (entry.received_at or now) + grace_s
    return Hold(deployment, until) if now < until else Run(deployment)


def _wait_for_phases(deployment: Deployment, entry: Entry, phases: Phases, now: float) -> Step:
    until = phases.bound(entry.received_at or now)
    if now < until:
        return Hold(deployment, until, for_phases=True)
    fault = (
        deployment.fault
        or f"the phases of this guest fail, and no deployment begins before they succeed: {phases.reason}"
    )
    return Run(replace(deployment, fault=fault))


def withdrawn(
    deployments: Iterable[Deployment], journal: Mapping[str, Entry], fresh: Collection[str]
) -> tuple[Entry, ...]:
    """Entries under way or unsent whose own source answered and that nobody lists any more.

    A hook among them is to be cancelled, a reboot not to be made, an outcome never to be sent. A source that did not
    answer takes nothing away, nor does one that never listed the id; an id that moved to another source (a stack
    update may change the transport of a server) is still wanted.
    """
    listed = {deployment.key for deployment in deployments}
    return tuple(
        entry
        for entry in journal.values()
        if entry.progress in (model.RUNNING, model.REBOOTING, model.FINISHED)
        and entry.source in fresh
        and entry.key not in listed
    )


def unique(deployments: Iterable[Deployment]) -> tuple[tuple[Deployment, ...], tuple[str, ...]]:
    """The first deployment of each id, and the ids that were listed more than once."""
    first: dict[str, Deployment] = {}
    repeated: dict[str, None] = {}
    for deployment in deployments:
        if deployment.key in first:
            repeated[deployment.id] = None
        first.setdefault(deployment.key, deployment)
    return tuple(first.values()), tuple(repeated)
