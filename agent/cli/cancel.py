"""`agent cancel ID`: end the hook that runs, with all that belongs to it."""

from __future__ import annotations

import argparse
import time

from agent import byhand, state
from agent.cli.main import given
from agent.view import guest
from agent.view.find import find

MARGIN_S = 30.0  # on top of the time between SIGTERM and SIGKILL
LOOK_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deployment", metavar="ID", help="an id, a name, or the beginning of one")


def run(arguments: argparse.Namespace) -> int:
    """The exit status is 2 while the hook has not ended yet."""
    settings = given(arguments).settings()
    seen = guest.read(settings)
    known = find(arguments.deployment, seen.deployments)
    pid = byhand.cancel(known.entry.key, seen.places)
    deadline = time.monotonic() + settings.kill_grace + MARGIN_S
    lock = seen.places.lock(known.entry.key)
    while state.held(lock):
        if time.monotonic() >= deadline:
            print(f"{known.deployment.name}: its runner (pid {pid}) was told, and has not ended yet; see agent status")
            return 2
        time.sleep(LOOK_S)
    if known.deployment.manner.rerun:
        print(f"{known.deployment.name}: ended; it asks for on_interrupt: rerun, so an agent begins it again")
    else:
        print(f"{known.deployment.name}: ended; an agent signals it as failed, interrupted")
    return 0
