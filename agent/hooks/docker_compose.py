"""Group `docker-compose`: the config is a compose file; its services are brought up in a directory of the deployment.

The contract is heat-agents' hook-docker-compose.py: the project is named after the deployment, and `env_files` brings
files that services name. `agent sync docker-compose` kills a project that is no longer listed, so DELETE does nothing.
"""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agent import jsontext, parse
from agent.errors import MetadataError
from agent.hooks import containers, reading, tools, writing
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, JsonMap, Outcome

VARIABLE = "HEAT_DOCKER_COMPOSE_CMD"
UP = ["up", "-d", "--no-build"]
FILE = "docker-compose.yml"
PLUGIN_S = 30.0
REFUSES_USER = containers.REFUSES_USER
REFUSES_LIMITS = "compose starts the containers; give the limits in the compose file, as mem_limit, pids_limit and cpus"
ADVICE = (
    "neither docker-compose nor docker with its compose plugin is on PATH; install one of them, or name another "
    f"program in {VARIABLE}"
)


def run(deployment: Deployment, place: Workplace) -> Outcome:
    if deployment.action == "DELETE":
        return Outcome(0)
    try:
        config = reading.config_map(deployment)
        project = _project(deployment, place)
        files = _env_files(config, deployment)
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    if not config:
        return Outcome(0)
    argv = _compose(deployment, place)
    if not argv:
        return tools.missing_tool(place, deployment, VARIABLE, ADVICE)
    for name, content in {FILE: _compose_file(deployment), **files}.items():
        try:
            _write(project, project / name, content)
        except OSError as exc:
            return writing.not_written(deployment, project / name, exc)
    return tools.run_tool(place, deployment, [*argv, *UP], cwd=project)


def sync(listed: Sequence[Deployment], place: Workplace) -> list[str]:
    """Kill the projects that are no longer listed, write the files of the others; returns what went wrong."""
    problems = []
    ours = [deployment for deployment in listed if deployment.group == "docker-compose"]
    kept = {deployment.name for deployment in listed}
    projects = [path.parent for path in sorted(place.working.glob(f"*/{FILE}")) if path.is_file()]
    for project in projects:
        if project.name not in kept:
            problems += _kill(project, place)
    for deployment in ours:
        try:
            project = _project(deployment, place)
            _write(project, project / FILE, _compose_file(deployment))
        except (MetadataError, OSError) as exc:
            problems.append(f"the project of '{deployment.name}' is not written: {exc}")
    return problems


def _kill(project: Path, place: Workplace) -> list[str]:
    """End one project; its file stays, for the next time, when that fails."""
    nobody = parse.deployment({"id": "sync", "name": project.name, "group": "docker-compose"})
    argv = _compose(nobody, place)
    if not argv:
        return [f"project {project.name} is not killed: {ADVICE}"]
    outcome = tools.run_tool(place, nobody, [*argv, "kill"], cwd=project)
    if outcome.failed:
        return [f"project {project.name} is not killed: {(outcome.stderr or '').strip()}"]
    (project / FILE).unlink(missing_ok=True)
    return []


def _compose(deployment: Deployment, place: Workplace) -> list[str]:
    """How compose is called here: the program that is named or found, else docker's plugin."""
    argv = tools.command(place, VARIABLE, "docker-compose")
    docker = tools.command(place, "HEAT_DOCKER_CMD", "docker")
    if argv or place.environ.get(VARIABLE) or not docker:
        return argv
    plugin = [*docker, "compose"]
    asking = replace(place, timeout_s=min(PLUGIN_S, place.timeout_s), log=None)
    return [] if tools.run_tool(asking, deployment, [*plugin, "version"]).failed else plugin


def _project(deployment: Deployment, place: Workplace) -> Path:
    name = deployment.name
    if not name or name in {".", ".."} or "/" in name or "\0" in name:
        raise MetadataError(f"its name {name[:80]!r} cannot be a directory; rename the config or the deployment")
    return place.working / name


def _compose_file(deployment: Deployment) -> bytes:
    """The config as it came when it is text, else as YAML."""
    if isinstance(deployment.config, str):
        return deployment.config.encode("utf-8", "replace")
    import yaml  # noqa: PLC0415 - heavy

    return yaml.safe_dump(deployment.config, default_flow_style=False).encode()


def _write(project: Path, path: Path, content: bytes) -> None:
    """One file, 0600, with its directories; a relative name is one in the project."""
    writing.make_directories(project)
    writing.make_directories(path.parent)
    writing.write_file(path, content, 0o600, durable=True)


def _env_files(config: JsonMap, deployment: Deployment) -> dict[str, bytes]:
    """The given files that a service names. Raises MetadataError."""
    services = config.get("services")
    if not isinstance(services, dict):  # a file of version 1 holds nothing but services
        services = config
    wanted = {name for service in services.values() if isinstance(service, dict) for name in _names(service)}
    given = _given(deployment)
    return {os.path.normpath(name): given[name] for name in sorted(wanted & given.keys())}


def _names(service: JsonMap) -> list[str]:
    """What `env_file` names: one file, several, or maps with a path."""
    value = service.get("env_file")
    listed = value if isinstance(value, list) else [value]
    paths = [one.get("path") if isinstance(one, dict) else one for one in listed]
    return [path for path in paths if isinstance(path, str) and path]


def _given(deployment: Deployment) -> dict[str, bytes]:
    """The input env_files: a list of file_name and content, also as text in JSON or in Python's notation."""
    known = deployment.inputs.get("env_files")
    value = known.value if known else None
    if isinstance(value, str) and value.strip():
        value = _from_text(value)
    files = {}
    for one in value if isinstance(value, list) else [value] if value else []:
        name, content = (one.get("file_name"), one.get("content")) if isinstance(one, dict) else (None, None)
        if not isinstance(name, str) or not name or "\0" in name:
            raise MetadataError("its input env_files is no list of maps with file_name and content")
        files[name] = jsontext.as_text(content).encode("utf-8", "replace")
    return files


def _from_text(text: str) -> Json:
    try:
        loaded: Json = json.loads(text)
    except ValueError:
        pass
    else:
        return loaded
    try:
        evaluated: Json = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as exc:
        raise MetadataError("its input env_files is neither JSON nor a Python list; correct it") from exc
    return evaluated
