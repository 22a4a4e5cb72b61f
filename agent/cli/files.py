"""`agent apply FILE`: a document of files (docs/files.md), placed all or nothing, or compared with the guest."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from agent import jsontext
from agent.apply import files, files_document, report
from agent.apply.files import Plan
from agent.apply.notify import Systemd
from agent.cli.main import given
from agent.errors import AgentError, Interrupted, MetadataError, UsageError
from agent.hooks import workplace
from agent.model import JsonMap

SAME, DIFFERS, FAILED = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    flag = parser.add_argument
    flag("file", metavar="FILE", type=Path, help="the document, JSON or YAML; see docs/files.md")
    flag("--name", help="whose files they are: what leaves the document of that name is undone (default: FILE's path)")
    flag(
        "--check", action="store_true", help="write nothing; exit 0 when all is as it should be, 1 when not, 2 on error"
    )
    flag("--diff", action="store_true", help="write nothing; print what would change")
    flag("--json", action="store_true", help="print what became of each path as JSON")
    flag("--no-notify", action="store_true", help="tell no unit of changes")


def run(arguments: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _show(arguments) if arguments.check or arguments.diff else _apply(arguments)
    except AgentError as exc:
        if not arguments.check:
            raise
        print(f"agent: {exc}", file=sys.stderr)
        return FAILED
    except Interrupted:  # everything was put back
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return 143


def _apply(arguments: argparse.Namespace) -> int:
    with files.locked(_directory(arguments), f"agent apply {arguments.file}"):
        plan = _plan(arguments)
        files.apply(plan, None if arguments.no_notify else Systemd())
    _tell(plan, as_json=arguments.json)
    return 0


def _show(arguments: argparse.Namespace) -> int:
    plan = _plan(arguments)
    if arguments.diff:
        sys.stdout.write("".join(report.diff(change) for change in plan.changes))
    if arguments.json or not arguments.diff:
        _tell(plan, as_json=arguments.json)
    return DIFFERS if arguments.check and not plan.same else SAME


def _tell(plan: Plan, *, as_json: bool) -> None:
    for warning in plan.act.warnings:
        print(f"agent: {warning}", file=sys.stderr)
    if as_json:
        print(json.dumps(report.as_json(plan.changes)))
    else:
        sys.stdout.write(report.table(plan.changes))


def _plan(arguments: argparse.Namespace) -> Plan:
    entries = files_document.parse(_read(arguments.file))
    name = arguments.name or str(arguments.file.absolute())
    return files.plan(entries, arguments.root.absolute(), _directory(arguments), name, files.fetch)


def _directory(arguments: argparse.Namespace) -> Path:
    """Where deployments of the group `files` keep their originals, too."""
    return workplace.directories("files", given(arguments).settings(), os.environ)[0]


def _read(path: Path) -> JsonMap:
    """The document. Raises UsageError when there is none, MetadataError when it is neither JSON nor YAML."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise UsageError(f"reading {path}: {exc.strerror}") from exc
    if path.suffix == ".json":
        return jsontext.decode_map(data, str(path))
    import yaml  # noqa: PLC0415 - only for those who have such a document

    try:
        return jsontext.decode_map(json.dumps(yaml.safe_load(data), default=str).encode(), str(path))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as exc:
        raise MetadataError(f"reading {path}: not YAML: {' '.join(str(exc).split())}") from exc


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
