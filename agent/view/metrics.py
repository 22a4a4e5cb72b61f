"""Where a guest stands, for the textfile collector of Prometheus' node exporter. Pure.

Times are given as times, not as ages: so the file changes when something happens, and an idle agent writes nothing.
Names follow https://prometheus.io/docs/practices/naming/, the format is its text exposition format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from agent import __version__
from agent.view.status import HEALTH, STATES, Status

PREFIX = "os_deploy_agent"


def text(status: Status) -> str:
    """The whole file."""
    return "".join(f"{line}\n" for line in _lines(status))


def _lines(status: Status) -> Iterator[str]:
    states = [line.state for line in status.lines]
    ended = [line.known.ended_at for line in status.lines if line.known.ended_at]
    unsent = [line.known.ended_at for line in status.lines if line.state == "unsignalled"]
    sources = {source.name: source for source in status.sources}
    yield from _gauge("info", "The version of the agent.", {__version__: 1}, "version")
    holds = {word: int(number == status.health) for number, word in HEALTH.items()}
    yield from _gauge("status", "What agent status says: 1 for the one that holds.", holds, "status")
    yield from _gauge("deployments", "Deployments by state.", {state: states.count(state) for state in STATES}, "state")
    up = {name: int(not source.fault) for name, source in sources.items()}
    yield from _gauge("source_up", "Whether a source answers.", up, "source")
    changed = {name: source.changed_at for name, source in sources.items()}
    yield from _gauge("source_changed_timestamp_seconds", "When its document changed last.", changed, "source")
    ends = status.guest.bulletin.certificates
    yield from _gauge("certificate_end_timestamp_seconds", "When a certificate ends.", ends, "certificate")
    started_at = status.guest.bulletin.started_at
    yield from _gauge("start_timestamp_seconds", "When the agent was started.", {"": started_at})
    if ended:
        yield from _gauge("last_end_timestamp_seconds", "When a hook ended last.", {"": max(ended)})
    if unsent:
        about = "Since when the oldest outcome waits for its endpoint."
        yield from _gauge("oldest_unsignalled_timestamp_seconds", about, {"": min(unsent)})


def _gauge(name: str, about: str, values: Mapping[str, float], label: str = "") -> Iterator[str]:
    """A family of samples, told apart by what `label` says; a single one without it."""
    if not values:
        return
    yield f"# HELP {PREFIX}_{name} {about}"
    yield f"# TYPE {PREFIX}_{name} gauge"
    for word, value in values.items():
        labels = f'{{{label}="{_escaped(word)}"}}' if label else ""
        yield f"{PREFIX}_{name}{labels} {value!r}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
