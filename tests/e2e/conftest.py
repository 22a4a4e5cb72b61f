"""One lab per session, one guest and a few stacks per test."""

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import IN_CI, require
from tests.e2e.cloud import Heat, Stack
from tests.e2e.guest import Guest
from tests.lab import services
from tests.lab.errors import LabError

NUMBERS = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def heat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heat]:
    """A real Heat, started once, dying with this session however that ends."""
    try:
        lab = services.open_lab(tmp_path_factory.mktemp("lab"))
    except LabError as exc:
        if IN_CI:
            raise
        require(False, f"no Heat: {exc}")
        raise
    try:
        services.start(lab, tethered=True)
        yield Heat(lab)
    finally:
        services.stop(lab)


@dataclass(frozen=True)
class Launcher:
    """Creates stacks, each with a name of its own, and sees to their deletion."""

    heat: Heat
    guest: Guest
    started: list[Stack]

    def __call__(self, template: str, **parameters: object) -> Stack:
        """A stack whose scripts note their runs in the guest's file, and which the guest is booted into."""
        name = f"e2e-{Path(template).stem}-{os.getpid()}-{next(NUMBERS)}"
        stack = self.heat.create(name, template, {**parameters, "runs": str(self.guest.runs)})
        self.started.append(stack)
        self.guest.boot(self.heat.bootstrap(stack))
        return stack

    def update(self, stack: Stack, template: str, **parameters: object) -> None:
        self.heat.update(stack, template, {**parameters, "runs": str(self.guest.runs)})


@pytest.fixture
def guest(root: Path) -> Guest:
    """A guest that is not booted yet."""
    return Guest(root)


@pytest.fixture
def launch(heat: Heat, guest: Guest) -> Iterator[Launcher]:
    launcher = Launcher(heat, guest, [])
    yield launcher
    for stack in launcher.started:
        heat.delete(stack)
