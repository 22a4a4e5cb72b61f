"""Peers on loopback, and the client that talks to them."""

from collections.abc import Iterator

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
