"""`agent show ID`: everything known of one deployment, secrets masked."""

from __future__ import annotations

import argparse
import json
import time

from agent.cli.main import given
from agent.view import guest, show
from agent.view.find import find


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deployment", metavar="ID", help="an id, a name, or the beginning of one")
    parser.add_argument("--json", action="store_true", help="for programs, and all of it: no text is shortened")


def run(arguments: argparse.Namespace) -> int:
    seen = guest.read(given(arguments).settings(), everything=True)
    known = find(arguments.deployment, seen.deployments)
    facts = show.facts(known, seen, time.time())
    if arguments.json:
        print(json.dumps(facts, indent=2))
    else:
        print("\n".join(show.text(facts, known)))
    return 0
