"""A subscription to the server's queue by websocket: Zaqar says at once that a message was posted.

It only rings. The message itself stays in the queue and is fetched, stored and deleted as by any poll, so a push that
gets lost costs no more than the time to the next poll. Needs the extra zaqar-ws, a catalogue that names the service
`messaging-websocket`, and a Zaqar whose message pipeline notifies (zaqar.conf, [storage] message_pipeline).
"""

from __future__ import annotations

import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, cast

from agent import jsontext, log, tls, transport, urls
from agent.errors import AgentError, MetadataError, Unavailable
from agent.identity import Tokens, client_id
from agent.model import Credentials, JsonMap
from agent.settings import Settings
from agent.transport import show

TTL_S = 3600.0
ANSWER_S = 10.0  # longest silence while subscribing
_DRAIN_S = 0.01
_FRAMES = 100  # most frames taken at once
FIRST_PAUSE_S, LONGEST_PAUSE_S = 60.0, 3600.0  # between two tries to subscribe


class Connection(Protocol):
    """What is used of websocket-client's WebSocket, which is not typed."""

    def fileno(self) -> int: ...
    def connect(self, url: str, *, redirect_limit: int) -> None: ...
    def settimeout(self, seconds: float) -> None: ...
    def send(self, text: str) -> int: ...
    def recv(self) -> str | bytes: ...
    def shutdown(self) -> None: ...


@dataclass(slots=True)
class Subscription:
    """One connection, renewed before its subscription ends. `tend` it now and then, `take` what it says."""

    _socket: Connection | None = None
    _queue: tuple[str, str] = ("", "")
    _due: float = 0.0
    _pause_s: float = FIRST_PAUSE_S

    def fileno(self) -> int:
        """To wait for; -1 while there is no connection."""
        return self._socket.fileno() if self._socket else -1

    def tend(self, settings: Settings, tokens: Tokens, now: float) -> bool:
        """Connect or renew when that is due; True when a subscription begins: what came before it is in the queue."""
        queue = (settings.zaqar_auth_url, settings.zaqar_queue_id)
        if queue != self._queue:
            self.close()
            self._queue, self._due, self._pause_s = queue, 0.0, FIRST_PAUSE_S
        if not all(queue) or "zaqar" not in settings.collectors or now < self._due:
            return False
        self.close()
        try:
            self._socket, ends_at = _subscribe(settings, tokens)
        except AgentError as exc:
            log.info("no push, the queue is polled", reason=str(exc), again_in_s=self._pause_s)
            self._due, self._pause_s = now + self._pause_s, min(self._pause_s * 4, LONGEST_PAUSE_S)
            return False
        self._due, self._pause_s = max(min(now + 0.9 * TTL_S, ends_at), now + FIRST_PAUSE_S), FIRST_PAUSE_S
        log.info("subscribed to the queue", queue=settings.zaqar_queue_id)
        return True

    def take(self, now: float) -> bool:
        """Read what has arrived; True when a message was posted, or may have been while the connection broke."""
        import websocket  # noqa: PLC0415 - only where there is a connection

        posted = False
        for _ in range(_FRAMES):
            if self._socket is None:
                break
            try:
                posted |= _is_notice(self._socket.recv())
            except websocket.WebSocketTimeoutException:
                break
            except (websocket.WebSocketException, OSError) as exc:
                log.info("subscription ended, the queue is polled", reason=str(exc) or type(exc).__name__)
                self.close()
                self._due, posted = now + FIRST_PAUSE_S, True
        return posted

    def close(self) -> None:
        if self._socket is not None:
            self._socket.shutdown()
            self._socket = None


def _subscribe(settings: Settings, tokens: Tokens) -> tuple[Connection, float]:
    """A connection that is subscribed, and when its token ends."""
    try:
        import websocket  # noqa: PLC0415 - an extra that most guests do without
    except ImportError as exc:
        raise Unavailable("subscribing: websocket-client is not installed; see the extra zaqar-ws") from exc
    who = Credentials(
        settings.zaqar_auth_url,
        settings.zaqar_user_id,
        settings.zaqar_password,
        settings.zaqar_project_id,
        settings.zaqar_region_name,
    )
    token = tokens.get(who)
    url = token.endpoint("messaging-websocket", who.region_name)
    if urls.split(url).scheme not in ("ws", "wss"):
        raise Unavailable(f"subscribing at {show(url)}: no websocket URL; look at the catalogue")
    keepalive = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    made = cast(Connection, websocket.WebSocket(sslopt=_sslopt(url, settings), sockopt=keepalive))
    project = {"X-Project-ID": who.project_id}
    try:
        made.settimeout(ANSWER_S)
        made.connect(url, redirect_limit=0)  # the token is for this host
        _exchange(made, "authenticate", {**project, "X-Auth-Token": token.id}, {})
        body: JsonMap = {"queue_name": settings.zaqar_queue_id, "ttl": int(TTL_S)}
        _exchange(made, "subscription_create", {**project, "Client-ID": client_id()}, body)
        made.settimeout(_DRAIN_S)
    except (websocket.WebSocketException, OSError, ValueError) as exc:
        made.shutdown()
        raise Unavailable(f"subscribing at {show(url)}: {exc}") from exc
    except AgentError:
        made.shutdown()
        raise
    return made, token.expires_at


def _sslopt(url: str, settings: Settings) -> dict[str, object]:
    """TLS as our requests speak it; left to itself the library takes the environment's WEBSOCKET_CLIENT_CA_BUNDLE."""
    if urls.split(url).scheme != "wss":
        return {}
    files = tls.files(settings, "zaqar")
    try:
        return {"context": tls.context(transport.bundle(files), files)}
    except OSError as exc:
        raise Unavailable(f"subscribing at {show(url)}: {exc.strerror or exc}; see ca_file and client_cert") from exc


def _exchange(made: Connection, action: str, headers: Mapping[str, str], body: JsonMap) -> None:
    """Ask, and wait for the answer; notices in between are told by the queue anyway."""
    made.send(json.dumps({"action": action, "headers": dict(headers), "body": body}))
    for _ in range(_FRAMES):
        answer = _decoded(made.recv())
        request, said = answer.get("request"), answer.get("headers")
        if isinstance(request, dict) and request.get("action") == action:
            status = said.get("status") if isinstance(said, dict) else None
            if status not in (200, 201):
                raise Unavailable(f"subscribing to the queue: {action} was answered with {status}")
            return
    raise Unavailable(f"subscribing to the queue: {action} was not answered")


def _is_notice(frame: str | bytes) -> bool:
    """Whether a message was posted: such a frame answers no request (its body is fetched from the queue)."""
    try:
        return bool(frame) and "request" not in _decoded(frame)
    except MetadataError:
        return True  # whatever it says, it says that something happened


def _decoded(frame: str | bytes) -> JsonMap:
    return jsontext.decode_map(frame.encode() if isinstance(frame, str) else frame, "a frame of the subscription")
