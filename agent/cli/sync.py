"""`agent sync GROUP`: what the old 50-heat-config-* scripts did before the deployments were dispatched.

docker-cmd: containers of deployments that left are removed. docker-compose: project files are written, projects that
left are killed. kubelet: manifests are written, those that left are removed.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import NamedTuple

from agent import hooks, jsontext, parse
from agent.cli.main import given
from agent.errors import MetadataError, UsageError
from agent.model import Deployment

SHELL_CONFIG = "/var/run/heat-config/heat-config"


class Sync(NamedTuple):
    """The exit status while the list is missing, or does not parse; nothing is touched then.

    As the old scripts had them, because a status other than 0 stops os-refresh-config.
    """

    missing: int
    unreadable: int


GROUPS = {
    "docker-cmd": Sync(missing=0, unreadable=0),
    "docker-compose": Sync(missing=1, unreadable=1),
    "kubelet": Sync(missing=1, unreadable=0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", metavar="GROUP", help=", ".join(GROUPS))


def run(arguments: argparse.Namespace) -> int:
    """Bring the guest in line with what is listed. What went wrong is said; the group's hook will fail for it."""
    group = arguments.group
    if group not in GROUPS:
        raise UsageError(f"nothing to sync for group '{group}'; known are {', '.join(GROUPS)}")
    settings = given(arguments).settings()
    named = os.environ.get("HEAT_SHELL_CONFIG")
    file = Path(named) if named else settings.path(SHELL_CONFIG)
    try:
        listed = _listed(file.read_bytes(), file)
    except OSError as exc:
        say(group, f"no config file {file}: {exc.strerror}; os-apply-config renders it")
        return GROUPS[group].missing
    except MetadataError as exc:
        say(group, str(exc))
        return GROUPS[group].unreadable
    if listed is None:
        return 0
    for problem in hooks.sync(group, listed, settings, os.environ):
        say(group, problem)
    return 0


def _listed(data: bytes, file: Path) -> tuple[Deployment, ...] | None:
    """What the rendered list holds, None while it is empty. Raises MetadataError.

    An empty file is one whose metadata has not come yet; a guest without deployments is rendered as [].
    """
    listed = jsontext.decode(data, str(file)) if data.strip() else None
    if listed is None:
        return None
    parsed = parse.deployments(parse.document("heat-config", {"deployments": listed}))
    if parsed.problems:
        raise MetadataError(f"reading {file}: {'; '.join(parsed.problems)}")
    return parsed.deployments


def say(group: str, text: str) -> None:
    print(f"agent sync {group}: {text}", file=sys.stderr)
