"""Who talks on loopback: a peer and a client of it, as fixtures for a suite's conftest, and any handler as a server."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from agent.transport import Client, Limits
from tests.fakes import Peer
from tests.waiting import LONGEST_S

LIMITS = Limits(connect_s=LONGEST_S, read_s=LONGEST_S, total_s=LONGEST_S, size=1 << 20)


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.close()


@pytest.fixture
def client() -> Iterator[Client]:
    made = Client(LIMITS)
    yield made
    made.close()


@contextmanager
def served(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """The port where `handler` answers."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()
