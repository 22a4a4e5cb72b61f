"""`agent hook GROUP`: one deployment as JSON on stdin, one JSON reply on stdout, as the old hook programs did.

Nothing is journalled and nothing signalled. The exit status is 0 even when the tool fails: the reply says so.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from dataclasses import replace
from types import FrameType
from typing import NoReturn

from agent import jsontext, model, parse, runner
from agent.cli.main import given
from agent.errors import Interrupted, MetadataError
from agent.model import Deployment, JsonMap, Outcome


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "group",
        metavar="GROUP",
        help="script, ansible, …; component, or any group with a program in the hook directories",
    )


def run(arguments: argparse.Namespace) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    settings = given(arguments).settings()
    try:
        raw = jsontext.decode_map(sys.stdin.buffer.read(), "the deployment on stdin")
    except MetadataError as exc:
        outcome = Outcome(model.STATUS_DATA, "", f"{exc}\n")
    else:
        deployment = _deployment({"id": "by-hand", **raw}, arguments.group)
        live = sys.stderr.buffer.write if sys.stderr.isatty() else None
        try:
            outcome = runner.answer(deployment, settings, os.environ, live, built_in_first=True)
        except Interrupted:
            outcome = Outcome(model.STATUS_INTERRUPTED, "", "interrupted: this hook was told to end by SIGTERM\n")
    json.dump(outcome.body(), sys.stdout)
    print(flush=True)
    return 0


def _deployment(raw: JsonMap, group: str) -> Deployment:
    """The deployment for this group, whatever its own says; a component becomes what it resolves to."""
    if group == model.COMPONENT:
        return parse.deployment({**raw, "group": group})
    return replace(parse.deployment(raw), group=group)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """End the tool and all it started before we answer; once is enough."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Interrupted
