"""Ports of the test's own loopback on a guest's: a cloud that runs beside the tests is reached from within."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from queue import Queue

SECONDS = 30.0


@contextmanager
def relaying(ports: Iterable[int]) -> Iterator[Callable[[], None]]:
    """What opens these ports in its caller's network; who connects there talks to the same port of this one's.

    A socket stays in the network of the thread that made it, and a thread in that of its parent. So the ports are
    opened by a thread of the guest's, and served by threads of ours.
    """
    opened: Queue[socket.socket | None] = Queue()
    servers: list[socket.socket] = []

    def serve() -> None:
        while (server := opened.get()) is not None:
            servers.append(server)
            threading.Thread(target=_accept, args=(server,), daemon=True).start()

    def open_all() -> None:
        for port in ports:
            opened.put(socket.create_server(("127.0.0.1", port)))

    ours = threading.Thread(target=serve, daemon=True)
    ours.start()
    try:
        yield open_all
    finally:
        opened.put(None)
        ours.join(SECONDS)
        for server in servers:
            server.shutdown(socket.SHUT_RDWR)  # close alone does not wake who accepts
            server.close()


def _accept(server: socket.socket) -> None:
    port = server.getsockname()[1]
    with suppress(OSError):  # closed: the test is over
        while True:
            inner, _ = server.accept()
            outer = socket.create_connection(("127.0.0.1", port), SECONDS)
            threading.Thread(target=_relay, args=(inner, outer), daemon=True).start()


def _relay(inner: socket.socket, outer: socket.socket) -> None:
    """Both ways, until each end has said all that it has to say."""
    with inner, outer:
        answers = threading.Thread(target=_copy, args=(outer, inner), daemon=True)
        answers.start()
        _copy(inner, outer)
        answers.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):  # either end has gone
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
