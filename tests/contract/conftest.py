"""Peers on loopback, and the client that talks to them."""

from collections.abc import Iterator

import pytest

from agent.transport import Client, Limits
from tests.fakes import Peer

LIMITS = Limits(connect_s=2.0, read_s=2.0, total_s=5.0, size=1 << 20)


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
