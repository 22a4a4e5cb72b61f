"""A metadata URL and a signal endpoint on loopback, in a process of its own so that it shares no lock with a client.

GET /metadata serves the file named on the command line (with an ETag), POST /signal/… is noted, GET /told tells.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

CHECKOUT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Traffic:
    """Requests, connections and bytes in both directions, without what TCP adds."""

    requests: int
    connections: int
    bytes: int


@dataclass(frozen=True)
class Endpoint:
    """The server as a benchmark sees it."""

    port: int
    file: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def serve(self, metadata: object) -> None:
        temporary = self.file.with_suffix(".new")
        temporary.write_text(json.dumps(metadata))
        temporary.rename(self.file)

    def counts(self) -> tuple[int, int]:
        """How often the metadata was asked for, and how many signals came, since the start."""
        polls, arrivals, _ = self._told()
        return polls, len(arrivals)

    def arrivals(self) -> list[float]:
        """When each signal came, in seconds of the monotonic clock."""
        return self._told()[1]

    def traffic(self) -> Traffic:
        """What has gone over the wire for the metadata since the start."""
        return Traffic(*self._told()[2])

    def _told(self) -> tuple[int, list[float], tuple[int, int, int]]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/told")
        polls, arrivals, traffic = json.loads(connection.getresponse().read())
        connection.close()
        return polls, arrivals, traffic


@contextmanager
def endpoint(directory: Path) -> Iterator[Endpoint]:
    file = directory / "metadata.json"
    file.write_text("{}")
    command = [sys.executable, "-m", "benchmarks.server", str(file)]
    with subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Endpoint(int(process.stdout.readline()), file)
        finally:
            process.terminate()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    file: Path
    polls = 0
    requests = 0
    bytes = 0
    arrivals: ClassVar[list[float]] = []
    clients: ClassVar[set[object]] = set()

    def do_GET(self) -> None:
        if self.path == "/told":
            traffic = (_Handler.requests, len(_Handler.clients), _Handler.bytes)
            self._answer(200, json.dumps([_Handler.polls, _Handler.arrivals, traffic]).encode())
            return
        _Handler.polls += 1
        self._count()
        body = self.file.read_bytes()
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        same = self.headers.get("If-None-Match") == tag
        self._answer(304 if same else 200, b"" if same else body, tag)

    def do_HEAD(self) -> None:  # os-collect-config asks so before each GET
        self._count()
        self._answer(200, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        _Handler.arrivals.append(time.monotonic())
        self._answer(200, b"")

    def _answer(self, status: int, body: bytes, tag: str = "") -> None:
        lines = [f"HTTP/1.1 {status} .", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        head = "\r\n".join([*lines, *([f"ETag: {tag}"] if tag else []), "", ""])
        if self.path == "/metadata":
            _Handler.bytes += len(head) + len(body)
        self.wfile.write(head.encode() + body)  # one segment: Nagle's delay would be measured otherwise

    def _count(self) -> None:
        _Handler.requests += 1
        _Handler.clients.add(self.client_address)
        _Handler.bytes += len(self.raw_requestline) + len(bytes(self.headers))

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: its time would be measured."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """Nothing: a daemon that is stopped leaves its connection as it is."""


def main() -> None:
    _Handler.file = Path(sys.argv[1])
    server = _Server(("127.0.0.1", 0), _Handler)
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
