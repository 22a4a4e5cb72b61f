"""An endpoint and a guest for each test; what the guest's agents started is ended with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint, listening
from tests.process.guest import Guest


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with listening() as served:
        yield served


@pytest.fixture
def guest(root: Path, endpoint: Endpoint) -> Iterator[Guest]:
    made = Guest(root, endpoint)
    yield made
    made.end()
