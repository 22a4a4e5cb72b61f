"""What is to be done: deployments and what the journal knows of them become steps. Pure.

Each deployment gets one step or none. Outcomes that wait come first; runs keep Heat's order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
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
    """Wait for the hook of a group that may still arrive, until `until` (seconds since the epoch)."""

    deployment: Deployment
    until: float


Step: TypeAlias = Run | Signal | Hold


def plan(
    deployments: Iterable[Deployment],
    journal: Mapping[str, Entry],
    *,
    has_hook: Callable[[str], bool],
    now: float,
    grace_s: float = 0.0,
    fresh: Collection[str] | None = None,
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
            others.append(_run_or_hold(deployment, entry, has_hook, now, grace_s))
    return (*signals, *others)


def _run_or_hold(
    deployment: Deployment, entry: Entry, has_hook: Callable[[str], bool], now: float, grace_s: float
) -> Step:
    if deployment.fault or has_hook(deployment.group):
        return Run(deployment)
    until = (entry.received_at or now) + grace_s
    return Hold(deployment, until) if now < until else Run(deployment)


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
