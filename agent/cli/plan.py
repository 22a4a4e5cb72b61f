"""`agent plan`: what the next cycle would do, and why; nothing is written, run or acknowledged."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence

from agent import log, masking
from agent.apply import report
from agent.apply.place import Change
from agent.cli.main import given
from agent.errors import AgentError
from agent.model import JsonMap
from agent.view import ahead, page
from agent.view.ahead import Ahead, Due

NOTHING, SOMETHING, FAILED = 0, 1, 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--diff", action="store_true", help="show how files would differ")
    parser.add_argument("--json", action="store_true", help="for programs; with --diff the differences are in it")
    parser.add_argument(
        "--fetch", action="store_true", help="ask the sources, in place of what they said last; no message is taken"
    )


def run(arguments: argparse.Namespace) -> int:
    """The exit status: 0 nothing to do, 1 something to do, 2 it could not be found out."""
    if arguments.log_level != "debug":
        log.set_level("error")  # sources that do not answer are on the page
    try:
        found = ahead.look(given(arguments), fetch=arguments.fetch)
    except AgentError as exc:
        print(f"agent plan: {exc}", file=sys.stderr)
        return FAILED
    if arguments.json:
        print(json.dumps(masking.value(as_json(found, diff=arguments.diff)), indent=2))
    else:
        for line in text(found, diff=arguments.diff):
            print(line)
    return NOTHING if found.nothing else SOMETHING


def as_json(found: Ahead, *, diff: bool) -> JsonMap:
    changes = found.files.changes
    everything = [*changes, *(change for due in found.deployments for change in due.changes)]
    return {
        "sources": list(found.sources),
        "faults": dict(found.faults),
        "phases": {"why": found.phases, "scripts": {phase: list(names) for phase, names in found.scripts.items()}},
        "files": report.as_json(changes),
        "files_fault": found.files.fault,
        "programs": [str(path) for path in found.files.programs],
        **({"diff": {str(change.path): report.diff(change) for change in everything}} if diff else {}),
        "deployments": [
            {
                "id": due.key,
                "name": due.name,
                "group": due.group,
                "step": due.step,
                "why": due.why,
                "hook": due.hook,
                "sections": {section: list(names) for section, names in due.sections.items()},
                "files": report.as_json(due.changes),
            }
            for due in found.deployments
        ],
    }


def text(found: Ahead, *, diff: bool) -> Iterator[str]:
    """The page for people."""
    if not found.sources:
        yield "no document is known here yet; --fetch asks the sources"
    for name, fault in found.faults.items():
        yield from page.wrapped(masking.text(f"{name} did not answer, its last document counts: {fault}"), "    ")
    if found.nothing:
        yield "nothing to do"
        return
    if found.phases:
        yield f"phases  would be run: {found.phases}"
        for phase, names in found.scripts.items():
            yield f"    {phase:<15} {' '.join(names)}"
    yield from _files(found, diff=diff)
    for due in found.deployments:
        yield from _due(due, diff=diff)


def _files(found: Ahead, *, diff: bool) -> Iterator[str]:
    files = found.files
    if files.fault:
        yield from page.wrapped(masking.text(f"files   would not be applied: {files.fault}"), "    ")
    if files.changes:
        yield "files"
    yield from _changes(files.changes, diff=diff)
    for path in files.programs:
        yield f"    unknown    {path} (its template is a program, which only a cycle runs)"


def _changes(changes: Sequence[Change], *, diff: bool) -> Iterator[str]:
    whole = "".join(report.diff(change) for change in changes) if diff else report.table(changes)
    for line in whole.splitlines():
        yield f"    {line}"


def _due(due: Due, *, diff: bool) -> Iterator[str]:
    hook = f", hook {due.hook}" if due.hook else ""
    yield f"{due.step:<8}{page.plain(due.name)} ({due.key}), group {page.plain(due.group)}{hook}"
    yield from page.wrapped(masking.text(due.why), "    ", "    ")
    for section, names in due.sections.items():
        yield f"    {section:<10} {', '.join(page.plain(name) for name in names)}"
    yield from _changes(due.changes, diff=diff)
