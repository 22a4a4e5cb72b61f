"""A guest on which nothing may be left running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools.guest import Guest


@pytest.fixture
def guest(root: Path, environment: dict[str, str]) -> Iterator[Guest]:
    """A guest whose processes must all be gone when its test ends."""
    guest = Guest(root, environment)
    yield guest
    guest.leave()


@pytest.fixture
def toolless(guest: Guest, tmp_path: Path) -> Guest:
    """The same guest with nothing on PATH."""
    guest.environment["PATH"] = str(tmp_path / "empty")
    return guest
