"""`agent run` and `agent --once`."""

from __future__ import annotations

import argparse

from agent import daemon, state
from agent.cli.main import given
from agent.engine import Engine
from agent.metadata import places


def add_arguments(_parser: argparse.ArgumentParser) -> None:
    """The daemon takes the common arguments only."""


def run(arguments: argparse.Namespace) -> int:
    engine = Engine(given(arguments), can_hold=True)
    lock = state.lock(places(engine.settings).agent_lock, "agent run")
    try:
        return daemon.run(engine)
    finally:
        lock.release()


def once(arguments: argparse.Namespace) -> int:
    engine = Engine(given(arguments), can_hold=False)
    lock = state.lock(places(engine.settings).agent_lock, "agent --once")
    try:
        return daemon.once(engine)
    finally:
        lock.release()
