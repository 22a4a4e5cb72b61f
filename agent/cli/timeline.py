"""`agent timeline [--svg FILE]`: what took how long, from the boot to the last signal."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from agent.cli.main import given
from agent.errors import StateError, UsageError
from agent.view import guest, page, timeline


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--svg", metavar="FILE", type=Path, help="draw it there instead")


def run(arguments: argparse.Namespace) -> int:
    settings = given(arguments).settings()
    found = timeline.chapters(guest.read(settings, everything=True), time.time())
    if not found:
        raise UsageError("nothing was deployed here yet; see agent status")
    if arguments.svg:
        from agent.view import drawing  # noqa: PLC0415 - only who draws pays

        _write(arguments.svg, drawing.svg(found))
        return 0
    signs = timeline.SIGNS if (sys.stdout.encoding or "").lower().startswith("utf") else timeline.ASCII
    for line in timeline.text(found, page.WIDTH, signs):
        print(line.rstrip())
    return 0


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as exc:
        raise StateError(f"writing {path}: {exc.strerror}; name another file") from exc
