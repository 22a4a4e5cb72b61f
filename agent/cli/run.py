"""`agent run` and `agent --once`."""

from __future__ import annotations

import argparse
import faulthandler
import os
import sys

from agent import daemon, state
from agent.cli.main import given
from agent.engine import Engine
from agent.metadata import places
from agent.systemd import notify


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """The daemon takes the common arguments only."""


def run(arguments: argparse.Namespace) -> int:
    manager = notify.notifier(os.environ)
    if manager.watchdog_s:
        faulthandler.enable(all_threads=False)  # its SIGABRT then leaves a traceback of the hang in the journal
    engine = Engine(given(arguments), can_hold=True, alive=manager.alive)
    lock = state.lock(places(engine.settings).agent_lock, "agent run")
    try:
        return daemon.run(engine, manager=manager)
    finally:
        lock.release()


def once(arguments: argparse.Namespace) -> int:
    engine = Engine(given(arguments), can_hold=False)
    lock = state.lock(places(engine.settings).agent_lock, "agent --once")
    try:
        ended = daemon.once(engine)
    finally:
        lock.release()
    if sys.stdout.isatty():  # somebody watches: say what came of it
        _tell(engine)
    return ended


def _tell(engine: Engine) -> None:
    from agent.cli import status  # noqa: PLC0415 - only for people

    print()
    status.tell(engine.settings)
