"""What `plan` is asked, as JSON and back: so that a decision of another guest can be made again, here and later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from agent.errors import MetadataError
from agent.model import Deployment, Endpoint, Entry, Json, JsonMap
from agent.plan import Hold, Phases, Step, plan

_DEPLOYMENT = ("id", "key", "name", "group", "source", "fault")


@dataclass(frozen=True, slots=True)
class Question:
    """All that `plan` decides by. `hooks` are the groups among the deployments' that have one."""

    deployments: tuple[Deployment, ...]
    entries: Mapping[str, Entry]
    hooks: frozenset[str]
    phases: Phases
    now: float
    grace_s: float

    def answer(self) -> list[Json]:
        """The steps that are due, each as `[kind, key]`."""
        steps = plan(
            self.deployments,
            self.entries,
            has_hook=self.hooks.__contains__,
            now=self.now,
            grace_s=self.grace_s,
            phases=self.phases,
        )
        return [_named(step) for step in steps]

    def as_json(self) -> JsonMap:
        hooks: list[Json] = [*sorted(self.hooks)]
        return {
            "deployments": [{name: getattr(d, name) for name in _DEPLOYMENT} for d in self.deployments],
            "entries": {key: asdict(entry) for key, entry in self.entries.items()},
            "hooks": hooks,
            "phases": _phases_as_json(self.phases),
            "now": self.now,
            "grace_s": self.grace_s,
        }


def from_json(content: JsonMap) -> Question:
    """The inverse of `as_json`; raises MetadataError for what is none."""
    try:
        return Question(
            deployments=tuple(_deployment(raw) for raw in _sequence(content["deployments"])),
            entries={key: Entry(**_known(Entry, raw)) for key, raw in _mapping(content["entries"]).items()},
            hooks=frozenset(_sequence(content["hooks"])),
            phases=Phases(**_phases(_known(Phases, content["phases"]))),
            now=_seconds(content["now"]),
            grace_s=_seconds(content["grace_s"]),
        )
    except (KeyError, TypeError, ValueError) as exc:
        raise MetadataError(f"reading the question of a report: {exc!r}; was it written by this version?") from exc


def _named(step: Step) -> Json:
    return [type(step).__name__.lower(), step.deployment.key, isinstance(step, Hold) and step.for_phases]


def _deployment(raw: Mapping[str, Any]) -> Deployment:
    named = {name: str(raw[name]) for name in _DEPLOYMENT}
    return Deployment(**named, config=None, inputs={}, outputs=(), options={}, action="", endpoint=Endpoint())  # type: ignore[arg-type]


def _known(kind: Any, raw: Any) -> dict[str, Any]:
    names = {field.name for field in fields(kind)}
    return {name: value for name, value in _mapping(raw).items() if name in names}


def _phases(raw: dict[str, Any]) -> dict[str, Any]:
    return {**raw, "admitted": frozenset(raw["admitted"]), "retry_at": _seconds(raw["retry_at"])}


def _phases_as_json(phases: Phases) -> JsonMap:
    # JSON knows neither sets nor infinity
    return {**asdict(phases), "admitted": [*sorted(phases.admitted)], "retry_at": min(phases.retry_at, 1e18)}


def _seconds(value: Any) -> float:
    """A number; text that float() would take for one, as "inf", is none."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise TypeError("a number is wanted")
    return float(value)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object is wanted")
    return value


def _sequence(value: Any) -> Sequence[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is wanted")
    return value
