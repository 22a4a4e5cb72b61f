"""`agent status`: what waits, runs, is done, failed or is not signalled yet, from the state on disk alone."""

from __future__ import annotations

import argparse
import gc
import json
import sys
import time
from collections.abc import Iterator

from agent import masking
from agent.cli.main import given
from agent.settings import Settings
from agent.view import guest, page, status
from agent.view.page import Ink
from agent.view.status import Line, Source, Status

WAIT_S = 3600.0
LOOK_S = 0.5
_COLOUR = {"done": "good", "failed": "bad", "refused": "bad", "interrupted": "bad", "running": "strong"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs; times are seconds of the epoch")
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        nargs="?",
        type=float,
        const=WAIT_S,
        help="until nothing is to be done any more (at most an hour, if no number is given)",
    )


def run(arguments: argparse.Namespace) -> int:
    """The exit status: 0 fine, 1 a deployment failed, 2 a source is down or an outcome undelivered."""
    settings = given(arguments).settings()
    seen, now = _look(settings), time.time()
    if arguments.wait is not None and seen.pending:
        seen, now = _wait(settings, now + arguments.wait)
    if arguments.json:
        print(json.dumps(masking.value(status.as_json(seen, now)), indent=2))
    else:
        for line in text(seen, now, page.here(sys.stdout)):
            print(line)
    if arguments.wait is not None and seen.pending:
        print(f"agent status: something is still to be done after {page.span(arguments.wait)}", file=sys.stderr)
        return seen.health or status.DEGRADED
    return seen.health


def tell(settings: Settings) -> None:
    """Print the page of this moment."""
    for line in text(_look(settings), time.time(), page.here(sys.stdout)):
        print(line)


def _look(settings: Settings) -> Status:
    return status.judge(guest.read(settings), time.time())


def _wait(settings: Settings, deadline: float) -> tuple[Status, float]:
    """Look again until nothing is pending; on a terminal one line says what is waited for."""
    gc.enable()  # see cli/main.py; here it does matter
    progress = sys.stderr.isatty()
    while (seen := _look(settings)).pending and (now := time.time()) < deadline:
        if progress:
            print(f"\r\x1b[K{_summary(seen)[: page.WIDTH]}", end="", file=sys.stderr, flush=True)
        time.sleep(min(LOOK_S, deadline - now))
    if progress:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)
    return seen, time.time()


def text(seen: Status, now: float, ink: Ink) -> Iterator[str]:
    """The page, at most 80 columns wide unless a word of a message is longer."""
    colour = {status.FINE: "good", status.FAILED: "bad", status.DEGRADED: "odd"}[seen.health]
    yield f"{ink(status.HEALTH[seen.health], colour)}: {_summary(seen)}"
    yield ""
    yield f"agent   {_agent(seen, now)}"
    if seen.fault:
        yield from page.wrapped(masking.text(f"{seen.fault}; {seen.next_step}"), " " * 10, f"{'':8}> ")
    width = max((len(source.name) for source in seen.sources), default=0)
    for source in seen.sources:
        yield from _source(source, width, seen, now, ink)
    for name, end in seen.ending:
        told = f"certificate of {masking.text(name)} {page.ending(end, now)}"
        yield from page.wrapped(f"{told}; {status.renewal(name)}", " " * 10, "tls     ")
    if seen.lines:
        yield ""
        yield from _table(seen.lines, now, ink)


def _summary(seen: Status) -> str:
    states = [line.state for line in seen.lines]
    counted = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    down = sum(bool(source.fault) for source in seen.sources)
    return (counted or "no deployments") + (f"; {down} source{'s' if down > 1 else ''} down" if down else "")


def _agent(seen: Status, now: float) -> str:
    posted = seen.guest.bulletin
    if seen.guest.agent:
        return f"{seen.guest.agent}, pid {seen.guest.pid}" + (
            f", for {page.span(now - posted.started_at)}" if posted.pid == seen.guest.pid else ""
        )
    if posted.pid:
        return f"not running; {posted.command} was started {page.ago(posted.started_at, now)}"
    return "not running"


def _source(source: Source, width: int, seen: Status, now: float, ink: Ink) -> Iterator[str]:
    head = f"source  {source.name:{width}}  "
    document = f"last change {page.ago(source.changed_at, now)}" if source.changed_at else "no document yet"
    if not source.fault:
        yield f"{head}answers, {document}"
        return
    yield f"{head}{ink('down', 'bad')} for {page.span(now - source.since)}, {document}"
    step = "it is asked again by itself" if seen.guest.agent else "the next agent run asks it again"
    kept = ", what it listed still counts" if source.changed_at else ""
    yield from page.wrapped(f"{masking.text(source.fault)}; {step}{kept}", " " * 10, f"{'':8}> ")


def _table(lines: tuple[Line, ...], now: float, ink: Ink) -> Iterator[str]:
    header = ["DEPLOYMENT", "ID", "GROUP", "STATE", "SINCE"]
    cells = [header]
    for line in lines:
        deployment = line.known.deployment
        cells.append([deployment.name, line.known.entry.key[:8], deployment.group, line.state, status.since(line, now)])
    padded = page.columns(cells, (28, 8, 16, 11, 12))
    yield ink("  ".join(padded[0]).rstrip(), "faint")
    for line, row in zip(lines, padded[1:], strict=True):
        row[3] = ink(row[3], _COLOUR.get(line.state, "odd"))
        yield "  ".join(row).rstrip()
        if line.detail and line.state != "done":
            yield from page.wrapped(masking.text(line.detail), " " * 4, "  ")
        if line.next_step:
            yield from page.wrapped(masking.text(line.next_step), " " * 4, "  > ")
