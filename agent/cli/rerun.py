"""`agent rerun ID`: let a deployment be run once more, as removing its mark does."""

from __future__ import annotations

import argparse

from agent import byhand, model
from agent.cli.main import given
from agent.errors import UsageError
from agent.view import guest
from agent.view.find import find
from agent.view.guest import Known

_NOT_NOW = {
    model.UNKNOWN: "has not begun yet; nothing is to be repeated",
    model.RECEIVED: "has not begun yet; nothing is to be repeated",
    model.RUNNING: "runs just now; cancel it first (agent cancel), or wait for its end",
    model.REBOOTING: "is run again by itself, once this machine has rebooted",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deployment", metavar="ID", help="an id, a name, or the beginning of one")


def run(arguments: argparse.Namespace) -> int:
    seen = guest.read(given(arguments).settings(), everything=True)
    known = find(arguments.deployment, seen.deployments)
    _check(known)
    byhand.rerun(known.entry.key, seen.places)
    pid = byhand.tell_agent(seen.places)
    who = f"agent run (pid {pid}) was told to look" if pid else "the next agent run or agent --once will begin it"
    print(f"{known.deployment.name}: its mark is removed; {who}")
    if known.entry.progress in (model.FINISHED, model.INTERRUPTED):
        print("what came of the last run has not been signalled; what comes of this one will be")
    elif known.entry.progress == model.SIGNALLED:
        print("Heat ignores the new outcome, unless the deployment is updated meanwhile")
    return 0


def _check(known: Known) -> None:
    name = known.deployment.name
    if reason := _NOT_NOW.get(known.entry.progress):
        raise UsageError(f"'{name}' {reason}")
    if not known.listed:
        raise UsageError(f"'{name}' is listed by no source any more, so no agent would run it; update the stack")
