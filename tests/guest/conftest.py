"""Guests for tests: each boots in about a second, on a root of its own."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.conftest import require
from tests.guest import install, machine
from tests.guest.guest import Guest, boot

Prepare: TypeAlias = Callable[[Path], object]
Boot: TypeAlias = Callable[..., AbstractContextManager[Guest]]


@pytest.fixture(scope="session")
def base() -> Path:
    """The root file system of a guest without the agent."""
    require(os.geteuid() == 0, "a guest needs root")
    require(install.installed(), "needs a guest's root file system: python -m tests.guest install")
    return install.root()


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The agent's package, compiled."""
    directory = tmp_path_factory.mktemp("agent")
    machine.compile_into(directory)
    return directory


@pytest.fixture(scope="session")
def with_agent(base: Path, tree: Path) -> Boot:
    """Boot a guest that has the agent; `prepare` may change its root before."""

    def start(
        prepare: Prepare = lambda _root: None, *, enable: bool = True, unit: str = ""
    ) -> AbstractContextManager[Guest]:
        def both(root: Path) -> None:
            machine.install(root, tree, enable=enable)
            prepare(root)

        return boot(base, prepare=both, unit=unit)

    return start


@pytest.fixture(scope="module")
def guest(with_agent: Boot) -> Iterator[Guest]:
    """One for all tests of a module that leave it as they found it, but for deployments with ids of their own."""
    with with_agent() as started:
        yield started
