"""An endpoint and a guest for each test; what the guest's agents started is ended with it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint, listening
from tests.process.guest import Guest
from tests.process.points import Point, certain, record


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with listening() as served:
        yield served


@pytest.fixture
def guest(root: Path, endpoint: Endpoint) -> Iterator[Guest]:
    made = Guest(root, endpoint)
    yield made
    made.end()


@pytest.fixture
def open_guest(endpoint: Endpoint) -> Iterator[Guest]:
    """A guest whose root other users may enter."""
    root = Path(tempfile.mkdtemp())
    root.chmod(0o755)
    (root / "home").mkdir()
    made = Guest(root, endpoint)
    yield made
    made.end()
    shutil.rmtree(root)


@pytest.fixture(scope="session")
def calls(tmp_path_factory: pytest.TempPathFactory) -> list[Point]:
    """Every call of an undisturbed run of the agent and its runners, in order."""
    return record(tmp_path_factory.mktemp("recorded"))


@pytest.fixture(scope="session")
def recorded(calls: list[Point]) -> list[Point]:
    """The calls among them that every run makes."""
    return certain(calls)
