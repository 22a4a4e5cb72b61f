"""An endpoint on loopback for people without an OpenStack: it serves a metadata file and judges signals as Heat does.

    GET  /  /metadata.json   DIR/metadata.json as it is now; deployments without signal inputs get those Heat would add
    POST /signal/<id>        an outcome (PUT too); the first one for an id counts
    GET  /signals            what was taken so far

It shares the model with the agent, not its client code, so that the two can prove each other wrong.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote, urlsplit

from agent import jsontext, model, parse
from agent.errors import MetadataError, UsageError
from agent.model import Deployment, Json, JsonMap

ADDRESS = "127.0.0.1"
FILE = "metadata.json"
BODY_LIMIT = 1 << 20
"""Heat's max_json_body_size (heat/common/wsgi.py)."""

SILENCE_S = 30.0  # after this a client that says nothing is hung up on
SERVER_ID = "00000000-0000-0000-0000-000000000000"
COMPLETE, FAILED = "COMPLETE", "FAILED"

# Any of these says that somebody else waits for the outcome.
_SIGNAL_INPUTS = frozenset({"deploy_signal_transport", "deploy_signal_id", "deploy_auth_url", "deploy_queue_id"})


@dataclass(frozen=True, slots=True)
class Verdict:
    """What Heat would make of one signal: COMPLETE or FAILED and the reason it would show."""

    id: str
    name: str
    status: str
    reason: str
    body: JsonMap = field(repr=False)

    def as_json(self) -> JsonMap:
        return {"id": self.id, "name": self.name, "status": self.status, "reason": self.reason, "signal": self.body}


class Endpoint:
    """The server, from `with` to its end. `on_verdict` is told of each signal that counted, one at a time."""

    def __init__(
        self, directory: Path, port: int = 0, *, on_verdict: Callable[[Verdict], object] = lambda _verdict: None
    ) -> None:
        self.file = directory / FILE
        self._on_verdict = on_verdict
        self._taken: dict[str, Verdict] = {}
        self._lock = threading.Lock()
        try:
            self._server = _Server((ADDRESS, port), self)
        except (OSError, OverflowError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise UsageError(f"listening on {ADDRESS} port {port}: {reason}; choose another --port") from exc
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    def __enter__(self) -> Endpoint:  # noqa: PYI034 - typing.Self is newer than Python 3.10
        self._thread.start()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """Without a slash at its end."""
        return f"http://{ADDRESS}:{self._server.server_address[1]}"

    @property
    def signals(self) -> tuple[Verdict, ...]:
        """The signals that counted, in the order of their arrival."""
        with self._lock:
            return tuple(self._taken.values())

    def metadata(self) -> JsonMap:
        """The file as it is now, its deployments as Heat would send them. Raises MetadataError."""
        try:
            data = self.file.read_bytes()
        except OSError as exc:
            raise MetadataError(f"reading {self.file}: {exc.strerror}; put the metadata there") from exc
        return signalled_here(jsontext.decode_map(data, str(self.file)), self.url)

    def take(self, identity: str, body: JsonMap) -> bool:
        """Judge a signal; False when no deployment of this id waits. Raises MetadataError, as `metadata` does."""
        with self._lock:
            if identity in self._taken:  # Heat answers 200 to a repeat and keeps the first
                return True
            listed = parse.deployments(parse.document("serve", self.metadata())).deployments
            deployment = next((d for d in listed if d.id == identity), None)
            if deployment is None:
                return False
            self._taken[identity] = verdict = judge(deployment, body)
            self._on_verdict(verdict)
            return True


def signalled_here(content: JsonMap, url: str) -> JsonMap:
    """The metadata with the inputs that Heat adds, for deployments that tell nobody of their outcome yet."""
    listed = content.get("deployments")
    if not isinstance(listed, list):
        return content
    return {**content, "deployments": [_with_inputs(element, url) for element in listed]}


def judge(deployment: Deployment, body: JsonMap) -> Verdict:
    """Heat's rule (software_config_utils and signal_software_deployment in heat/engine): status, then error outputs."""
    reasons = []
    if parse.status_from(body.get("deploy_status_code")):
        code = body["deploy_status_code"]
        reasons.append(f"deploy_status_code : Deployment exited with non-zero status code: {code}")
    reasons += [f"{name} : {jsontext.as_text(body[name])}" for name in model.failing_outputs(deployment, body)]
    status = FAILED if reasons else COMPLETE
    return Verdict(deployment.id, deployment.name, status, ", ".join(reasons) or "Outputs received", body)


def _with_inputs(element: Json, url: str) -> Json:
    if not isinstance(element, dict):
        return element
    inputs = element.get("inputs")
    inputs = [] if inputs is None else inputs
    identity = element.get("id")
    if not isinstance(inputs, list) or not isinstance(identity, str) or not identity:
        return element
    present = {known.get("name") for known in inputs if isinstance(known, dict)}
    if present & _SIGNAL_INPUTS:
        return element
    wanted = {
        "deploy_server_id": SERVER_ID,
        "deploy_action": "CREATE",
        "deploy_stack_id": f"serve/{SERVER_ID}",
        "deploy_resource_name": str(element.get("name") or identity),
        "deploy_signal_transport": "CFN_SIGNAL",
        "deploy_signal_id": f"{url}/signal/{quote(identity, safe='')}",
        "deploy_signal_verb": "POST",
    }
    added: list[Json] = [
        {"name": name, "type": "String", "value": value} for name, value in wanted.items() if name not in present
    ]
    return {**element, "inputs": [*inputs, *added]}


# ------------------------------------------------------------------------------------------------- the wire


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        super().__init__(address, _Conversation)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hung up is no news; anything else is a bug of ours and prints its traceback."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


class _Conversation(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "os-deploy-agent"
    timeout = SILENCE_S
    wbufsize = -1  # head and body leave in one packet
    disable_nagle_algorithm = True

    if TYPE_CHECKING:
        close_connection: bool

    def do_GET(self) -> None:
        match urlsplit(self.path).path:
            case "/" | "/metadata.json":
                self._metadata()
            case "/signals":
                taken: list[Json] = [verdict.as_json() for verdict in self.server.endpoint.signals]
                self._say(200, _pretty(taken), "application/json")
            case path:
                self._say(404, f"nothing at {path}; there are /metadata.json, /signals and /signal/<id>\n")

    do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

    def do_POST(self) -> None:
        data = self._body()
        if data is not None:
            self._signal(data)

    do_PUT = do_POST  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the verdicts are what people want to read."""

    def _metadata(self) -> None:
        try:
            content = self.server.endpoint.metadata()
        except MetadataError as exc:
            return self._say(500, f"{exc}\n")
        tag = f'"{jsontext.digest(content)}"'
        asked = {one.strip().removeprefix("W/") for one in self.headers.get("If-None-Match", "").split(",")}
        if tag in asked or "*" in asked:
            return self._say(304, "", tag=tag)
        return self._say(200, _pretty(content), "application/json", tag=tag)

    def _signal(self, data: bytes) -> None:
        start, _, name = urlsplit(self.path).path.removeprefix("/").partition("/")
        if start != "signal" or not name:
            return self._say(404, "a signal goes to /signal/<deployment id>\n")
        try:
            body = jsontext.decode_map(data, "the signal")
        except MetadataError as exc:
            return self._say(400, f"{exc}\n")
        try:
            taken = self.server.endpoint.take(unquote(name), body)
        except MetadataError as exc:
            return self._say(500, f"{exc}\n")
        if not taken:
            return self._say(404, "no deployment of this id is listed\n")
        return self._say(200, "null\n", "application/json")

    def _body(self) -> bytes | None:
        """The request's body; None when it was refused, which has been said then."""
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdecimal()):
            self.close_connection = True
            self._say(411, "a signal needs a Content-Length\n")
            return None
        if int(length) <= BODY_LIMIT:
            return self.rfile.read(int(length))
        left = min(int(length), 16 * BODY_LIMIT)  # read on for a while, or the client never sees the answer
        while left > 0 and (chunk := self.rfile.read(min(left, 1 << 16))):
            left -= len(chunk)
        self.close_connection = True
        self._say(400, f"the signal has {length} bytes, the limit is {BODY_LIMIT}\n")
        return None

    def _say(self, status: int, text: str, kind: str = "text/plain; charset=utf-8", *, tag: str = "") -> None:
        data = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        if tag:
            self.send_header("ETag", tag)
        if status != 304:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD" and status != 304:
            self.wfile.write(data)


def _pretty(content: Json) -> str:
    return json.dumps(content, indent=2) + "\n"
