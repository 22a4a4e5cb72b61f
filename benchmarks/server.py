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
        polls, arrivals = self._told()
        return polls, len(arrivals)

    def arrivals(self) -> list[float]:
        """When each signal came, in seconds of the monotonic clock."""
        return self._told()[1]

    def _told(self) -> tuple[int, list[float]]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/told")
        polls, arrivals = json.loads(connection.getresponse().read())
        connection.close()
        return polls, arrivals


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
    arrivals: ClassVar[list[float]] = []

    def do_GET(self) -> None:
        if self.path == "/told":
            self._answer(200, json.dumps([_Handler.polls, _Handler.arrivals]).encode())
            return
        _Handler.polls += 1
        body = self.file.read_bytes()
        tag = f'"{hashlib.sha256(body).hexdigest()}"'
        same = self.headers.get("If-None-Match") == tag
        self._answer(304 if same else 200, b"" if same else body, tag)

    def do_HEAD(self) -> None:  # os-collect-config asks so before each GET
        self._answer(200, b"")

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        _Handler.arrivals.append(time.monotonic())
        self._answer(200, b"")

    def _answer(self, status: int, body: bytes, tag: str = "") -> None:
        lines = [f"HTTP/1.1 {status} .", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        head = "\r\n".join([*lines, *([f"ETag: {tag}"] if tag else []), "", ""])
        self.wfile.write(head.encode() + body)  # one segment: Nagle's delay would be measured otherwise

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: its time would be measured."""


def main() -> None:
    _Handler.file = Path(sys.argv[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
