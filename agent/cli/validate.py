"""`agent validate [FILE…]`: names every fault of the settings and of metadata files with its place; changes nothing."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

from agent import collectors, hooks, jsontext, model, parse
from agent.cli.main import given
from agent.collectors import COLLECTORS
from agent.errors import MetadataError, SettingsError
from agent.model import Deployment
from agent.settings import FIELDS, Given, Settings

ELEMENT_KEYS = frozenset(("id", "name", "group", "creation_time", "config", "inputs", "outputs", "options"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="metadata, as a source would serve it")


def run(arguments: argparse.Namespace) -> int:
    """Prints one line a fault; the exit status is 1 when there is any."""
    what = given(arguments)
    faults = [*_in_settings(what)]
    settings = what.settings() if not faults else Settings(root=what.root)
    for path in arguments.files:
        faults += _in_metadata(path, settings)
    for fault in faults:
        print(fault)
    if not faults:
        print(f"no fault in the settings and {len(arguments.files)} file(s)")
    return 1 if faults else 0


def _in_settings(what: Given) -> Iterator[str]:
    try:
        settings = what.settings()
    except SettingsError as exc:
        yield str(exc)
        return
    for name in settings.collectors:
        if name not in COLLECTORS:
            yield collectors.unknown(name)
    for file, ini in what.files:
        for section, entries in ini.items():
            for key in entries:
                full = key if section == "DEFAULT" else f"{section}.{key}"
                if full not in FIELDS:
                    yield f"{file}: [{section}] {key} is no setting of this agent"


def _in_metadata(path: Path, settings: Settings) -> Iterator[str]:
    try:
        content = jsontext.decode_map(path.read_bytes(), str(path))
    except OSError as exc:
        yield f"reading {path}: {exc.strerror}"
        return
    except MetadataError as exc:
        yield str(exc)
        return
    document = parse.document(str(path), content)
    parsed = parse.deployments(document, settings.deployment_key)
    yield from (f"{path}: {problem}" for problem in parsed.problems)
    first: dict[str, str] = {}
    for number, deployment in enumerate(parsed.deployments):
        where = f"{path}: deployment {number} ({deployment.name})"
        yield from (f"{where}: {fault}" for fault in _in_deployment(deployment, settings))
        if deployment.key in first:
            yield f"{where}: its id {deployment.id!r} is listed before, in {first[deployment.key]}; the first counts"
        first.setdefault(deployment.key, f"deployment {number}")


def _in_deployment(deployment: Deployment, settings: Settings) -> Iterator[str]:
    if deployment.fault:
        yield deployment.fault
    elif hooks.find(deployment.group, settings, os.environ) is None:
        yield hooks.missing(deployment.group, settings, os.environ)
    for key in sorted(deployment.raw.keys() - ELEMENT_KEYS):
        yield f"{key} is nothing that Heat sends"
    for known in deployment.inputs.values():
        if known.type not in model.INPUT_TYPES:
            yield f"input {known.name!r} has the type {known.type!r}; Heat knows {', '.join(model.INPUT_TYPES)}"
