"""Both ends of Heat that a guest sees: metadata to fetch and URLs to signal, misbehaving on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Signal:
    name: str
    body: dict[str, Any]

    @property
    def judged(self) -> str:
        """As Heat does (heat/engine/resources/openstack/heat/software_deployment.py, handle_signal)."""
        failed = self.body.get("deploy_status_code") not in (None, "", 0, "0")
        return "FAILED" if failed else "COMPLETE"

    @property
    def stderr(self) -> str:
        return str(self.body.get("deploy_stderr"))


@dataclass
class Endpoint:
    """What is served, what came, and `spoil(request, name)`: it may answer a signal itself and return True."""

    document: bytes = b"{}"
    metadata_status: int = 200
    signals: list[Signal] = field(default_factory=list)
    tries: list[str] = field(default_factory=list)
    polls: int = 0
    spoil: Callable[[BaseHTTPRequestHandler, str], bool] = lambda _request, _name: False
    port: int = 0

    @property
    def metadata_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/metadata.json"

    def signal_url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.port}/signal/{name}"

    def serve(self, *deployments: Any, **more: Any) -> None:
        self.document = json.dumps({"deployments": list(deployments), **more}).encode()

    def of(self, name: str) -> list[Signal]:
        return [signal for signal in self.signals if signal.name == name]

    def script(self, name: str, config: Any, **more: Any) -> dict[str, Any]:
        """A deployment of group script that signals here."""
        inputs = [
            {"name": "deploy_signal_transport", "type": "String", "value": "CFN_SIGNAL"},
            {"name": "deploy_signal_id", "type": "String", "value": self.signal_url(name)},
            {"name": "deploy_signal_verb", "type": "String", "value": "POST"},
        ]
        plain = {"id": f"id-{name}", "name": name, "group": "script", "config": config, "outputs": [], "options": {}}
        return {**plain, "inputs": inputs, **more}


@contextmanager
def listening(port: int = 0) -> Iterator[Endpoint]:
    """At this port of loopback, at a free one by default."""
    endpoint = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            endpoint.polls += 1
            answer(self, endpoint.metadata_status, endpoint.document)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            name = self.path.partition("?")[0].rpartition("/")[2]
            endpoint.tries.append(name)
            if endpoint.spoil(self, name):
                return
            endpoint.signals.append(Signal(name, json.loads(body)))
            answer(self, 200, b"ok")

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """Nothing to say: a client that was killed in the middle is what these tests are about."""

    with Server(("127.0.0.1", port), Handler) as server:
        endpoint.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield endpoint
        finally:
            server.shutdown()
            thread.join()


def answer(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    request.send_response(status)
    for name, value in headers.items():
        request.send_header(name.replace("_", "-"), value)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[BaseHTTPRequestHandler, str], bool]:
    """To be used as `spoil`: every signal is answered so."""

    def spoil(request: BaseHTTPRequestHandler, _name: str) -> bool:
        answer(request, status, body, **headers)
        return True

    return spoil
