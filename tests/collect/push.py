"""The websocket side of Zaqar, frames written by hand after what a real one said (zaqar 23, transport websocket)."""

import base64
import hashlib
import json
import socket
import ssl
import struct
import threading
from contextlib import suppress
from typing import Any

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Push:
    """Takes subscribers, by TLS where that is given; `push` tells all of them of a message.

    `refused` maps an action to a status.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self.asked: list[dict[str, Any]] = []
        self.refused: dict[str, int] = {}
        self.subscribed = threading.Event()
        self._connections: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self._taker = threading.Thread(target=self._serve, daemon=True)
        self._taker.start()

    @property
    def url(self) -> str:
        return f"{'wss' if self._tls else 'ws'}://127.0.0.1:{self._server.getsockname()[1]}"

    def push(self, body: object) -> None:
        for connection in self._connections:
            self._send(connection, {"ttl": 3600, "body": body, "Message_Type": "Notification", "queue_name": "q"})

    def hang_up(self) -> None:
        while self._connections:
            with self._connections.pop() as connection, suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Nobody is taken any more: a thread that still accepts would take the connections of who comes next."""
        self.hang_up()
        self._server.shutdown(socket.SHUT_RDWR)  # close alone does not wake it
        self._taker.join()
        self._server.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError, struct.error):  # whoever leaves in the midst of it has left
            if not self._tls:
                self._converse(connection)
                return
            with self._tls.wrap_socket(connection, server_side=True) as secured:
                self._converse(secured)

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as stream:
            lines = [line.partition(b": ") for line in iter(lambda: stream.readline().strip(), b"")]
            [key] = [value for name, _, value in lines if name.lower() == b"sec-websocket-key"]
            accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
            connection.sendall(
                b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
            )
            while True:
                request = json.loads(self._frame(stream))
                self.asked.append(request)
                action = request["action"]
                good = 201 if action == "subscription_create" else 200
                status = self.refused.get(action, good)
                subscribes = action == "subscription_create" and status == good
                if subscribes:  # before the answer: who has read it may be pushed to at once
                    self._connections.append(connection)
                self._send(connection, {"request": {"action": action}, "body": {}, "headers": {"status": status}})
                if subscribes:
                    self.subscribed.set()

    @staticmethod
    def _frame(stream: Any) -> bytes:
        _, length = stream.read(2)
        length &= 127
        if length == 126:
            (length,) = struct.unpack("!H", stream.read(2))
        mask = stream.read(4)
        return bytes(byte ^ mask[position % 4] for position, byte in enumerate(stream.read(length)))

    @staticmethod
    def _send(connection: socket.socket, content: object) -> None:
        data = json.dumps(content).encode()
        size = bytes([len(data)]) if len(data) < 126 else b"\x7e" + struct.pack("!H", len(data))
        connection.sendall(b"\x81" + size + data)
