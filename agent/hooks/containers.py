"""A container engine by its command line: docker, or podman, which speaks the same.

What the hooks docker-cmd, docker-compose and kubelet share, and the commands that clean up after them.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from agent import process
from agent.hooks import tools, workplace
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, Outcome
from agent.process import Finished

VARIABLE = "HEAT_DOCKER_CMD"
NAMES = ("docker", "podman")
MANAGED = "label=managed_by=docker-cmd"
REFUSES_USER = "who asks the engine is not who runs in its containers; give their user in the config"
ADVICE = f"neither docker nor podman is on PATH; install one of them, or name another engine in {VARIABLE}"


@dataclass(frozen=True, slots=True)
class Engine:
    """How the engine is called, and when its time is over (on the monotonic clock)."""

    argv: tuple[str, ...]
    place: Workplace
    ends_at: float

    def run(self, *arguments: str) -> Finished:
        """Run one command of the engine within what is left of the time. Raises OSError when it cannot be started."""
        return process.run(
            [*self.argv, *arguments],
            env=process.environment({workplace.RUN_MARK: self.place.mark}),
            cwd=Path("/"),
            timeout_s=max(self.ends_at - time.monotonic(), 0.01),
            grace_s=self.place.grace_s,
            keep=self.place.keep,
            tee=self.place.log,
        )

    def ask(self, *arguments: str) -> Finished:
        """Like `run`, for a question whose answer belongs into no log."""
        return replace(self, place=replace(self.place, log=None)).run(*arguments)

    def extended(self, seconds: float) -> Engine:
        """The same engine with time of its own, for putting in order what ran out of it."""
        return replace(self, ends_at=time.monotonic() + seconds)


def engine(place: Workplace) -> Engine | None:
    """The engine of this guest, None when there is none."""
    argv = tools.command(place, VARIABLE, *NAMES)
    return Engine(tuple(argv), place, time.monotonic() + place.timeout_s) if argv else None


def remove(engine: Engine, config: str) -> list[str]:
    """Remove the containers that docker-cmd made for one deployment; returns what went wrong."""
    found = engine.ask("ps", "-q", "-a", "--filter", MANAGED, "--filter", f"label=config_id={config}")
    if found.status:
        return [_why(found)]
    removals = [engine.ask("rm", "-f", container) for container in lines(found)]
    return [_why(removal) for removal in removals if removal.status]


def label(engine: Engine, name: str, *filters: str, before: str = "") -> Finished:
    """List a label of all containers, after what `before` asks for.

    docker reads it by a method, podman (seen with 4.3.1, which calls that an error) from a map.
    """
    listed = ("ps", "-a", *filters, "--format")
    found = engine.ask(*listed, f'{before}{{{{.Label "{name}"}}}}')
    if found.status and "field Label" in found.stderr.text():
        return engine.ask(*listed, f'{before}{{{{index .Labels "{name}"}}}}')
    return found


def _why(finished: Finished) -> str:
    return finished.stderr.text().strip() or f"the engine ended with {finished.status}"


def no_engine(deployment: Deployment, place: Workplace) -> Outcome:
    return tools.missing_tool(place, deployment, VARIABLE, ADVICE)


def lines(finished: Finished) -> list[str]:
    """What was printed, by lines, without the empty ones."""
    return [line.strip() for line in finished.stdout.text().splitlines() if line.strip()]


def text(value: Json) -> str:
    """A value of a config as an argument: booleans as engines write them, null as nothing."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def texts(value: Json) -> list[str]:
    """One value, a list of them, or a map as name=value; what is empty is left out."""
    if isinstance(value, dict):
        return [name if known is None else f"{name}={text(known)}" for name, known in value.items()]
    return [text(one) for one in (value if isinstance(value, list) else [value]) if one not in (None, "")]
