"""The guest and the endpoint of the process tests, and a guest and a cloud that know secrets."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fakes import Peer
from tests.process.conftest import endpoint, guest
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest
from tests.trust import planted

__all__ = ["endpoint", "guest"]


@pytest.fixture
def cloud() -> Iterator[Peer]:
    made = planted.cloud()
    yield made
    made.close()


@pytest.fixture
def knowing(root: Path, cloud: Peer) -> Iterator[Guest]:
    """A guest of that cloud which knows all twelve secrets."""
    made = Guest(root, Endpoint())
    planted.settle(made, cloud)
    yield made
    made.end()
