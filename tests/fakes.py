"""Stand-ins written by hand, sharing no code with what they fake.

A Heat that judges signals, a journal in memory, and a web server on loopback that says what it is told to.
"""

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import Any

from agent import model
from agent.errors import MetadataError
from agent.model import Deployment, Entry, Json, JsonMap
from agent.state import Places

URL = "http://heat.example/signal/"


# ----------------------------------------------------------------------------------------------------- Heat


@dataclass
class Resource:
    """One SoftwareDeployment of a stack: the id that stands there now, and whether Heat still waits for it."""

    id: str
    complete: bool = False
    update_waits: bool = False


@dataclass
class Heat:
    """What a real Heat 27 does to deployments and makes of signals, as seen in its lab.

    - an update of a deployment that is under way waits for its signal; then the id is replaced at once
    - a delete takes the id away at any moment, or replaces it by one for the action DELETE
    - a signal names a resource and no id: whatever id stands there and is waited for becomes complete
    - a signal that nobody waits for is answered 200 and ignored; 404 when the resource is gone

    `wrong` collects answers that were counted for another deployment although the agent could have known, `window`
    those that no agent can prevent: the id was replaced after the poll that the send relied on.
    """

    resources: dict[str, Resource] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    window: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    options: dict[str, JsonMap] = field(default_factory=dict)  # of a deployment's config, by its name
    _numbers: "count[int]" = field(default_factory=count)
    _time: "count[int]" = field(default_factory=lambda: count(1))
    _polled_at: int = 0
    _gone_at: dict[str, int] = field(default_factory=dict)
    _tried_at: dict[str, int] = field(default_factory=dict)

    def create(self, name: str) -> None:
        if name not in self.resources:
            self.resources[name] = Resource(self._new_id(name))

    def update(self, name: str) -> None:
        known = self.resources.get(name)
        if known is None:
            return
        if known.complete:
            self._replace(name)
        else:
            known.update_waits = True

    def delete(self, name: str) -> None:
        known = self.resources.pop(name, None)
        if known is not None:
            self._gone_at[known.id] = next(self._time)

    def delete_with_action(self, name: str) -> None:
        if name in self.resources:
            self._replace(name)

    def listed(self) -> list[JsonMap]:
        """The deployments as the guest fetches them."""
        return [self._element(name, known.id) for name, known in self.resources.items()]

    def polled(self) -> None:
        """The agent has the newest document safely in its hands."""
        self._polled_at = next(self._time)

    def attempted(self, made_by: str) -> None:
        """The agent is about to send an outcome of `made_by`, whether or not it arrives."""
        self._tried_at[made_by] = next(self._time)

    def signal(self, name: str, made_by: str, *, tried_before_at: int) -> int:
        """Take a signal; returns the HTTP status. `tried_before_at` is 0 for a first send."""
        self.taken.add(made_by)
        known = self.resources.get(name)
        if known is None:
            return 404
        if known.complete:
            return 200
        if known.id != made_by:
            knew = self._polled_at > self._gone_at[made_by]
            unasked = self._polled_at < tried_before_at
            (self.wrong if knew or unasked else self.window).append(f"{made_by} counted for {known.id}")
        known.complete = True
        if known.update_waits:
            self._replace(name)
        return 200

    def tried_at(self, made_by: str) -> int:
        return self._tried_at.get(made_by, 0)

    def _replace(self, name: str) -> None:
        self._gone_at[self.resources[name].id] = next(self._time)
        self.resources[name] = Resource(self._new_id(name))

    def _new_id(self, name: str) -> str:
        return f"fake-{name}-{next(self._numbers)}"

    def _element(self, name: str, identity: str) -> JsonMap:
        inputs: list[Json] = [
            {"name": "deploy_signal_transport", "type": "String", "value": "CFN_SIGNAL"},
            {"name": "deploy_signal_id", "type": "String", "value": URL + name},
        ]
        options = self.options.get(name, {})
        plain: JsonMap = {"id": identity, "name": name, "group": "script", "config": "#!/bin/sh\n"}
        return {**plain, "inputs": inputs, "options": options}


# -------------------------------------------------------------------------------------------------- journal


def _nothing() -> None:
    """Nobody listens."""


class MemoryJournal:
    """The journal without a disk: what is in it survives its agents. `locked` are the keys whose runner lives.

    `arrow` is called before and after each write, so that a test can kill its writer there.
    """

    def __init__(
        self, places: Places, clock: Callable[[], float] = lambda: 0.0, arrow: Callable[[], None] = _nothing
    ) -> None:
        self.places = places
        self.locked: set[str] = set()
        self.marks: set[str] = set()
        self._records: dict[str, JsonMap] = {}
        self._outcomes: dict[str, JsonMap] = {}
        self._clock = clock
        self._arrow = arrow

    def open(self) -> None:
        """Everything is in memory already."""

    def rescan(self) -> None:
        """Each look is a new one."""

    def refresh(self, key: str) -> Entry:
        return self.entry(key)

    def entry(self, key: str) -> Entry:
        record = self._records.get(key)
        if record is None:
            return Entry(key, model.FOREIGN if key in self.marks else model.UNKNOWN)
        names = ("id", "source", "received_at", "tries", "next_try_at", "reason", "attempt", "reboots", "left_boot")
        stored = {name: record[name] for name in names if name in record}
        return replace(Entry(key, self._progress(key, str(record["state"]))), **stored)  # type: ignore[arg-type]

    def entries(self) -> Mapping[str, Entry]:
        return {key: self.entry(key) for key in self._records}

    def received(self, deployment: Deployment) -> None:
        if self.entry(deployment.key).progress == model.RECEIVED:
            return
        self._write(
            deployment.key,
            {
                "state": model.RECEIVED,
                "id": deployment.id,
                "source": deployment.source,
                "received_at": self._clock(),
                "tries": 0,
                "next_try_at": 0.0,
                "reason": "",
            },
        )

    def begin(self, deployment: Deployment) -> None:
        self.received(deployment)
        self._outcomes.pop(deployment.key, None)
        self._arrow()
        self.marks.add(deployment.key)
        self.locked.add(deployment.key)
        self._arrow()

    def record(self, key: str) -> JsonMap:
        return dict(self._records.get(key, {}))

    def note(self, key: str, **facts: Json) -> None:
        self._write(key, {**self._records[key], **facts})

    def unmark(self, key: str) -> None:
        self._arrow()
        self.marks.discard(key)
        self._arrow()

    def finish(self, key: str, body: Mapping[str, Json]) -> None:
        self._arrow()
        self._outcomes[key] = dict(body)
        self._arrow()

    def outcome(self, key: str) -> JsonMap:
        if key not in self._outcomes:
            raise MetadataError(f"reading the outcome of {key}: there is none")
        return self._outcomes[key]

    def settle(self, key: str, state: str, reason: str = "") -> None:
        self._write(key, {**self._records[key], "state": state, "reason": reason})

    def strip(self) -> None:
        """Nothing here is on a disk."""

    def tried(self, key: str, reason: str, next_try_at: float) -> None:
        tries = self.entry(key).tries + 1
        self._write(key, {**self._records[key], "tries": tries, "reason": reason, "next_try_at": next_try_at})

    def note_listed(self, listed: frozenset[str]) -> None:
        """Nothing here is ever forgotten."""

    def prune(self, *, older_than_s: float, at_most: int) -> tuple[str, ...]:
        return ()

    def lock_path(self, key: str) -> Path:
        return self.places.locks / f"{key}.lock"

    def running(self, key: str) -> bool:
        return key in self.locked

    def _progress(self, key: str, state: str) -> str:
        if key not in self.marks:
            return model.RECEIVED if state == model.RECEIVED else model.UNKNOWN
        if state in model.SETTLED:
            return state
        if key in self._outcomes:
            return model.REBOOTING if model.REBOOT_FROM in self._outcomes[key] else model.FINISHED
        return model.RUNNING if key in self.locked else model.INTERRUPTED

    def _write(self, key: str, record: JsonMap) -> None:
        self._arrow()
        self._records[key] = record
        self._arrow()


# ----------------------------------------------------------------------------------------- a server on loopback


@dataclass(frozen=True)
class Request:
    """What a peer was asked; header names are lower case, `query` is as it came."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """A whole answer with the right length."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def pieces(self) -> Iterator[bytes]:
        lines = [f"HTTP/1.1 {self.status} Answer", f"Content-Length: {len(self.body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        yield "\r\n".join([*lines, "", ""]).encode("latin-1")
        yield self.body


@dataclass(frozen=True)
class Raw:
    """Bytes as they go over the wire, `pause_s` apart; then the connection is closed."""

    sent: Iterable[bytes] = ()
    pause_s: float = 0.0

    def pieces(self) -> Iterator[bytes]:
        return iter(self.sent)


class _Server6(ThreadingHTTPServer):
    address_family = socket.AF_INET6


class Peer:
    """A web server on loopback that answers from a script and remembers what it was asked.

    `answers` maps a path to what is said there: one answer for ever, or a list, whose last one stays.
    """

    def __init__(self, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1") -> None:
        self.answers: dict[str, Reply | Raw | list[Reply | Raw]] = {}
        self.requests: list[Request] = []
        self._closing = threading.Event()
        self._host = f"[{host}]" if ":" in host else host
        kind = _Server6 if ":" in host else ThreadingHTTPServer
        self._server = kind((host, 0), partial(_Exchange, self))
        self._server.daemon_threads = True
        self._server.block_on_close = False
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https" if tls else "http"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"{self._scheme}://{self._host}:{self.port}"

    def answer(self, request: Request) -> Reply | Raw:
        self.requests.append(request)
        found = self.answers.get(request.path, Reply(404, b"no such place"))
        if isinstance(found, list):
            return found.pop(0) if len(found) > 1 else found[0]
        return found

    def wait(self, seconds: float) -> bool:
        """Pause; True when the peer is being closed."""
        return self._closing.wait(seconds)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, peer: Peer, *arguments: Any) -> None:
        self._peer = peer
        super().__init__(*arguments)

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client had enough
            super().handle()

    def _answer(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        said = self._peer.answer(Request(self.command, path, query, headers, body))
        pause_s = said.pause_s if isinstance(said, Raw) else 0.0
        with suppress(OSError):  # the client had enough
            for piece in said.pieces():
                self.wfile.write(piece)
                if pause_s and self._peer.wait(pause_s):
                    break
        self.close_connection = isinstance(said, Raw)

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = _answer  # noqa: N815 - the names are http.server's

    def log_message(self, *_arguments: object) -> None:
        """Tests look at `requests`."""
