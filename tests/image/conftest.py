"""The image is built once per content; a guest of it takes two seconds."""

import os
from pathlib import Path

import pytest

from tests.conftest import require
from tests.guest import install as guest
from tests.image import install


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents and {"image", "debian"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.guest)


@pytest.fixture(scope="session")
def debian() -> Path:
    """A root file system of Debian with cloud-init, without the agent."""
    require(os.geteuid() == 0, "a guest needs root")
    require(guest.installed(install.PACKAGES), "needs a guest's root file system: python -m tests.image install")
    return install.root()


@pytest.fixture(scope="session")
def image(debian: Path) -> Path:
    """The root of an image that diskimage-builder made of it with our elements."""
    require(not install.lacking(), f"needs {', '.join(install.lacking())}: python -m tests.image install")
    return install.built()
