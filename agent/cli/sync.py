"""`agent sync GROUP`: what the old 50-heat-config-* scripts did before the deployments were dispatched.

docker-cmd: containers of deployments that left are removed. docker-compose: project files are written, projects that
left are killed. kubelet: manifests are written, those that left are removed.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from pathlib import Path

from agent import model
from agent.cli.main import given
from agent.errors import AgentError, MetadataError, UsageError
from agent.hooks import workplace
from agent.model import Deployment

SHELL_CONFIG = "/var/run/heat-config/heat-config"

# group -> module with sync(listed, place) -> what went wrong
GROUPS = {
    "docker-cmd": "agent.hooks.docker_cmd",
    "docker-compose": "agent.hooks.docker_compose",
    "kubelet": "agent.hooks.kubelet",
}
WITHOUT_A_FILE = frozenset({"docker-cmd"})
"""Groups for which a file that is missing or does not parse means that there is nothing to do."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help=", ".join(GROUPS))


def run(arguments: argparse.Namespace) -> int:
    """Bring the guest in line with what is listed; 1 when that failed or nobody can say what is listed."""
    group = arguments.group
    if group not in GROUPS:
        raise UsageError(f"nothing to sync for group '{group}'; known are {', '.join(GROUPS)}")
    settings = given(arguments).settings()
    file = os.environ.get("HEAT_SHELL_CONFIG")
    try:
        listed = read(Path(file) if file else settings.path(SHELL_CONFIG))
    except AgentError as exc:
        print(f"agent sync {group}: {exc}", file=sys.stderr)
        return 0 if group in WITHOUT_A_FILE else 1
    if listed is None:
        return 0
    place = workplace.workplace(model.parse_deployment({}), group, settings, os.environ)
    problems: list[str] = import_module(GROUPS[group]).sync(listed, place)
    for problem in problems:
        print(f"agent sync {group}: {problem}", file=sys.stderr)
    return 0


def read(path: Path) -> tuple[Deployment, ...] | None:
    """What the rendered list holds, None while it is empty. Raises MetadataError when nobody can say.

    An empty file is one whose metadata has not come yet; a guest without deployments is rendered as [].
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise MetadataError(f"no config file {path}: {exc.strerror}; os-apply-config renders it") from exc
    if not data.strip():
        return None
    listed = model.decode(data, str(path))
    if listed is None:
        return None
    parsed = model.parse_deployments(model.document("heat-config", {"deployments": listed}))
    if parsed.problems:
        raise MetadataError(f"reading {path}: {'; '.join(parsed.problems)}")
    return parsed.deployments
