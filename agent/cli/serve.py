"""`agent serve DIR`: the embedded endpoint, until SIGTERM or, with --once-all, until every deployment has answered."""

from __future__ import annotations

import argparse
import queue
import signal
from pathlib import Path

from agent import parse, serve
from agent.errors import MetadataError, UsageError
from agent.serve import Endpoint, Verdict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "directory", metavar="DIR", type=Path, help=f"where {serve.FILE} is; it is read at each request"
    )
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: a free one, printed)")
    parser.add_argument(
        "--once-all",
        action="store_true",
        help="end when every deployment listed has signalled; the exit status is 1 when one of them failed",
    )


def run(arguments: argparse.Namespace) -> int:
    if not arguments.directory.is_dir():
        raise UsageError(f"serving {arguments.directory}: no such directory; name the one that holds {serve.FILE}")
    events: queue.SimpleQueue[Verdict | None] = queue.SimpleQueue()  # None: stop; its put() may be called by a handler
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: events.put(None))
    with Endpoint(arguments.directory, arguments.port, on_verdict=events.put) as endpoint:
        _say(f"serving {endpoint.file} at {endpoint.url}/{serve.FILE}")
        _say(f"try: agent --once --collectors request --request-metadata-url {endpoint.url}/{serve.FILE} --root DIR")
        if arguments.once_all and not _waiting(endpoint):
            return 0
        while verdict := events.get():
            _say(sentence(verdict))
            if arguments.once_all and not _waiting(endpoint):
                return int(any(taken.status == serve.FAILED for taken in endpoint.signals))
    return 2 if arguments.once_all else 0


def sentence(verdict: Verdict) -> str:
    """One line about a signal; the outputs by name only, because their values may be secret."""
    named = ("deploy_stdout", "deploy_stderr", "deploy_status_code")
    outputs = ", ".join(name for name in verdict.body if name not in named) or "none"
    text = f"signal from {verdict.name} ({verdict.id}): {verdict.status}, {verdict.reason}; outputs: {outputs}"
    return "".join(character if character.isprintable() else "?" for character in text)


def _waiting(endpoint: Endpoint) -> set[str]:
    """The ids that have not signalled yet; of a file that is broken just now nothing is known, so they still wait."""
    try:
        listed = parse.deployments(parse.document("serve", endpoint.metadata())).deployments
    except MetadataError:
        return {""}
    ours = {d.id for d in listed if d.endpoint.url.startswith(f"{endpoint.url}/signal/")}
    return ours - {verdict.id for verdict in endpoint.signals}


def _say(line: str) -> None:
    print(line, flush=True)
