"""Guests for tests: each boots in about a second, on a root of its own."""

import os
from pathlib import Path

import pytest

from tests.conftest import require
from tests.guest import install


@pytest.fixture(scope="session")
def base() -> Path:
    """The root file system of a guest without the agent."""
    require(os.geteuid() == 0, "a guest needs root")
    require(install.installed(), "needs a guest's root file system: python -m tests.guest install")
    return install.root()
