"""Group `docker-cmd`: the config is a map of containers; each is run, or something is executed in a running one.

The contract is heat-agents' hook-docker-cmd.py: the order of `start_order`, the labels and the names. `agent sync
docker-cmd` removes containers by these labels once their deployment is no longer listed, so DELETE has nothing to do.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent import model
from agent.errors import Interrupted, MetadataError
from agent.hooks import containers, reading, tools, workplace
from agent.hooks.containers import Engine
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, JsonMap, Outcome
from agent.process import Finished

REFUSES_USER = containers.REFUSES_USER
LIMITS = {
    "memory": "--memory={}",
    "tasks": "--pids-limit={}",
    "cpu_time": "--ulimit=cpu={0}:{0}",
    "open_files": "--ulimit=nofile={0}:{0}",
}
NAME_TRIES = 5
REMOVE_S = 60.0


@dataclass(frozen=True, slots=True)
class Container:
    """One entry of the config: what to run or execute, and which exit statuses are fine."""

    name: str
    action: str
    arguments: tuple[str, ...] = field(repr=False)
    command: tuple[str, ...] = field(repr=False)
    exit_codes: tuple[int, ...] = (0,)
    order: float = 0.0


def run(deployment: Deployment, place: Workplace) -> Outcome:
    if deployment.action == "DELETE":
        return Outcome(0)
    try:
        listed = plan(reading.config_map(deployment))
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    if not listed:
        return Outcome(0)
    engine = containers.engine(place)
    if engine is None:
        return containers.no_engine(deployment, place)
    try:
        return _run_all(engine, deployment, listed)
    except OSError as exc:
        return tools.not_started(engine.place, deployment, engine.argv[0], exc)


# ------------------------------------------------------------------------------------------- decides


def plan(config: JsonMap) -> list[Container]:
    """The containers in the order in which they start. Raises MetadataError."""
    return sorted((_container(name, entry) for name, entry in config.items()), key=lambda known: known.order)


def _container(name: str, entry: Json) -> Container:
    if not isinstance(entry, dict):
        raise MetadataError(f"its container '{name}' is no map")
    action = containers.text(entry.get("action", "run"))
    command = entry.get("command")
    # Text is split at blanks, as ever; a list holds arguments with blanks.
    words = command.split() if isinstance(command, str) else [containers.text(word) for word in _listed(command)]
    match action:
        case "run" if entry.get("image"):
            arguments, words = _run_arguments(entry), [containers.text(entry["image"]), *words]
        case "exec" if words:
            arguments = _arguments(entry, "privileged", "user")
        case "run":
            raise MetadataError(f"its container '{name}' has no image")
        case "exec":
            raise MetadataError(f"its entry '{name}' has no command; the first word of it names the container")
        case _:
            raise MetadataError(f"its entry '{name}' has the action '{action}'; run and exec are known")
    try:
        order = float(containers.text(entry.get("start_order")) or 0)
        exit_codes = tuple(int(containers.text(code)) for code in _listed(entry.get("exit_codes")) or [0])
    except ValueError as exc:
        raise MetadataError(f"start_order or exit_codes of '{name}' holds what is no number") from exc
    return Container(name, action, tuple(arguments), tuple(words), exit_codes, order)


def _run_arguments(entry: JsonMap) -> list[str]:
    restart = entry.get("restart")
    if restart is False:  # YAML's reading of a bare no
        entry = {**entry, "restart": "no"}
    return [
        *(["--detach=true"] if entry.get("detach", True) else []),
        *(f"--env-file={file}" for file in containers.texts(entry.get("env_file"))),
        *(f"--env={variable}" for variable in containers.texts(entry.get("environment"))),
        *_arguments(entry, "net", "pid", "privileged", "restart", "user"),
        *(f"--volume={volume}" for volume in containers.texts(entry.get("volumes"))),
        *(f"--volumes-from={name}" for name in containers.texts(entry.get("volumes_from"))),
    ]


def _arguments(entry: JsonMap, *names: str) -> list[str]:
    texts = {name: containers.text(entry[name]) for name in names if entry.get(name) is not None}
    return [f"--{name}={text.lower() if name == 'privileged' else text}" for name, text in texts.items()]


def _listed(value: Json) -> list[Json]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _limits(deployment: Deployment) -> list[str]:
    """The deployment's limits, each for every container of its own."""
    manner = deployment.manner
    limits = [LIMITS[name].format(number) for name, number in manner.limits.items()]
    return [*limits, *([f"--cpus={manner.cpu_percent / 100:g}"] if manner.cpu_percent else [])]


def _labels(container: Container, deployment: Deployment) -> list[str]:
    labels = {
        "deploy_stack_id": deployment.endpoint.stack_id,
        "deploy_resource_name": deployment.endpoint.resource_name,
        "config_id": deployment.id,
        "container_name": container.name,
        "managed_by": "docker-cmd",
    }
    return [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]


# ------------------------------------------------------------------------------------------- acts


def _run_all(engine: Engine, deployment: Deployment, listed: list[Container]) -> Outcome:
    """Run one after the other; a failing one does not stop those after it, but its status stays."""
    status, stdouts, stderrs = 0, [], []
    for container in listed:
        try:
            finished = _run(engine, deployment, container)
        except Interrupted:
            containers.remove(engine.extended(REMOVE_S), deployment.id)
            raise
        stdouts.append(finished.stdout.text())
        stderrs.append(finished.stderr.text())
        if finished.timed_out:
            # A container is no child of the command that started it: it does not end with that.
            left = containers.remove(engine.extended(REMOVE_S), deployment.id)
            what = f"container '{container.name}' of docker-cmd"
            stderrs += [workplace.timed_out(what, deployment, engine.place), *left, ""]
            status = model.STATUS_TIMEOUT
            break
        if finished.status not in container.exit_codes:
            status = finished.status or 1  # an exit of 0 that exit_codes leaves out is a failure, too
    return Outcome(status, "\n".join(filter(None, stdouts)), "\n".join(filter(None, stderrs)))


def _run(engine: Engine, deployment: Deployment, container: Container) -> Finished:
    if container.action == "exec":
        name, *words = container.command
        return engine.run("exec", *container.arguments, _present_name(engine, deployment.id, name), *words)
    name = _free_name(engine, container.name)
    labels = _labels(container, deployment)
    limits = _limits(deployment)
    return engine.run("run", "--name", name, *labels, *limits, *container.arguments, *container.command)


def _free_name(engine: Engine, name: str) -> str:
    """The name itself, or with 8 random characters while an older container holds it."""
    free = name
    for _ in range(NAME_TRIES):
        if engine.ask("inspect", "--format", "exists", free).status:
            break
        free = f"{name}-{''.join(random.choices(string.ascii_lowercase + string.digits, k=8))}"
    return free


def _present_name(engine: Engine, config: str, name: str) -> str:
    """What the container of this deployment is called that its config calls `name`."""
    filters = ("--filter", f"label=container_name={name}", "--filter", f"label=config_id={config}")
    found = engine.ask("ps", "-a", *filters, "--format", "{{.Names}}")
    names = containers.lines(found)
    return names[0] if names and not found.status else name


# ------------------------------------------------------------------------------------------- cleans up


def sync(listed: Sequence[Deployment], place: Workplace) -> list[str]:
    """Remove containers of deployments that are no longer listed, then give the others their plain names.

    Returns what went wrong. Without an engine there are no containers.
    """
    engine = containers.engine(place)
    if engine is None:
        named = place.environ.get(containers.VARIABLE)
        return [f"{containers.VARIABLE} names '{named}', which is no program on PATH"] if named else []
    problems = []
    known = {deployment.id for deployment in listed}
    configs = containers.label(engine, "config_id", "--filter", containers.MANAGED)
    if not configs.status:
        for config in sorted(set(containers.lines(configs)) - known):
            problems += containers.remove(engine, config)
    names = containers.label(engine, "container_name", before="{{.Names}} ")
    if names.status:
        return [*problems, f"{engine.argv[0]} ps: {names.stderr.text().strip()}"]
    for present, wanted in _renames(containers.lines(names)):
        renamed = engine.ask("rename", present, wanted)
        if renamed.status:
            problems.append(f"{present} keeps its name: {renamed.stderr.text().strip()}")
    return problems


def _renames(lines: list[str]) -> list[tuple[str, str]]:
    """Present and wanted names of the containers whose wanted name is free."""
    entries = [line.split() for line in lines]
    taken = {entry[0] for entry in entries}
    renames = []
    for present, wanted in sorted((entry[0], entry[-1]) for entry in entries if len(entry) > 1):
        if wanted not in taken:
            renames.append((present, wanted))
            taken.add(wanted)
    return renames
