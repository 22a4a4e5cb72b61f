"""`agent log [ID] [--follow]`: what a deployment printed, or prints just now."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from agent import model, state
from agent.cli.main import given
from agent.errors import StateError, UsageError
from agent.view import guest
from agent.view.find import find
from agent.view.guest import Guest, Known

LOOK_S = 0.2
BEGIN_WITHIN_S = 3600.0  # --follow waits so long for a deployment whose turn has not come
CHUNK = 1 << 16


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "deployment", metavar="ID", nargs="?", help="an id, a name, or the beginning of one; default: what runs or ran"
    )
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the deployment ends")


def run(arguments: argparse.Namespace) -> int:
    seen = guest.read(given(arguments).settings(), everything=True)
    known = find(arguments.deployment, seen.deployments) if arguments.deployment else _newest(seen)
    lock = seen.places.lock(known.entry.key)
    if arguments.follow and known.entry.progress in (model.RECEIVED, model.UNKNOWN) and known.listed:
        _await_begin(lock, time.monotonic() + BEGIN_WITHIN_S)
    elif not known.log.exists():
        raise UsageError(f"'{known.deployment.name}' has printed nothing here: there is no {known.log}")
    _follow(known.log, lock if arguments.follow else None)
    return 0


def _newest(seen: Guest) -> Known:
    begun = [known for known in seen.deployments if known.log.exists()]
    if not begun:
        raise UsageError("no deployment has printed anything here; see agent status")
    return max(begun, key=lambda known: (known.entry.progress == model.RUNNING, known.began_at))


def _await_begin(lock: Path, deadline: float) -> None:
    while not state.held(lock):
        if time.monotonic() >= deadline:
            raise UsageError(f"it has not begun within {BEGIN_WITHIN_S:.0f} s; see agent status")
        time.sleep(LOOK_S)


def _follow(path: Path, lock: Path | None) -> None:
    """Write the file to stdout; with `lock`, what is added to it as well for as long as the runner lives."""
    offset = 0
    while True:
        alive = lock is not None and state.held(lock)  # looked at before reading: nothing written later is missed
        offset = _copy(path, offset)
        if not alive:
            return
        time.sleep(LOOK_S)


def _copy(path: Path, offset: int) -> int:
    """Write what lies behind `offset`, all of it when the file began anew; returns the new end."""
    try:
        with path.open("rb") as file:
            if file.seek(0, 2) < offset:
                offset = 0
            file.seek(offset)
            while chunk := file.read(CHUNK):
                sys.stdout.buffer.write(chunk)
            sys.stdout.flush()
            return file.tell()
    except FileNotFoundError:  # its runner has not made it yet
        return 0
    except OSError as exc:
        raise StateError(f"reading {path}: {exc.strerror}; run this as root") from exc
