"""`agent history`: what was deployed here, oldest first."""

from __future__ import annotations

import argparse
import json
import sys
import time

from agent import masking
from agent.cli.main import given
from agent.model import JsonMap
from agent.view import guest, page, status


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs; times are seconds of the epoch")


def run(arguments: argparse.Namespace) -> int:
    seen = guest.read(given(arguments).settings(), everything=True)
    lines = sorted(status.judge(seen, time.time()).lines, key=lambda line: line.known.entry.received_at)
    if arguments.json:
        print(json.dumps(masking.value([_facts(line) for line in lines]), indent=2))
        return 0
    header = ["RECEIVED", "DEPLOYMENT", "ID", "ACTION", "STATE", "STATUS", "TOOK"]
    table = page.columns([header, *(_cells(line) for line in lines)], (20, 20, 8, 8, 11, 6, 8))
    ink = page.here(sys.stdout)
    print(ink("  ".join(table[0]).rstrip(), "faint"))
    for cells in table[1:]:
        print("  ".join(cells).rstrip())
    return 0


def _cells(line: status.Line) -> list[str]:
    known = line.known
    took = page.span(known.ended_at - known.began_at) if known.ended_at else ""
    return [
        page.moment(known.entry.received_at),
        known.deployment.name,
        known.entry.key[:8],
        known.deployment.action,
        line.state,
        str(known.status) if known.outcome else "",
        took,
    ]


def _facts(line: status.Line) -> JsonMap:
    known = line.known
    return {
        "id": known.deployment.id or known.entry.key,
        "name": known.deployment.name,
        "group": known.deployment.group,
        "action": known.deployment.action,
        "state": line.state,
        "status": known.status if known.outcome else None,
        "received_at": known.entry.received_at,
        "began_at": known.began_at,
        "ended_at": known.ended_at,
        "settled_at": known.settled_at,
        "reason": known.entry.reason,
    }
