"""One lab per session, one guest and a few stacks per test."""

import itertools
import os
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.conftest import IN_CI, require
from tests.e2e.cloud import Facts, Heat, Stack, eventually
from tests.e2e.guest import Guest
from tests.e2e.transports import Transports
from tests.lab import processes, services
from tests.lab.errors import LabError
from tests.lab.model import Settings

NUMBERS = itertools.count(1)
WAITS_FOR_LEAVE = """#!/bin/sh
echo $$ > "$runs.pid"
echo "$deploy_action $word" >> "$runs"
while [ ! -e "$runs.leave" ]; do sleep 0.2; done
printf 'hello %s' "$word" > "$heat_outputs_path.greeting"
"""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)


@contextmanager
def started(directory: Path, settings: Settings = services.DEFAULTS) -> Iterator[Heat]:
    """A real Heat, dying with this session however that ends."""
    try:
        lab = services.open_lab(directory, settings)
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


@pytest.fixture(scope="session")
def heat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heat]:
    with started(tmp_path_factory.mktemp("lab")) as lab:
        yield lab


@pytest.fixture(scope="session")
def other_heat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heat]:
    """A Heat whose signed URLs live one minute, with a Zaqar that tells subscribers of messages."""
    with started(tmp_path_factory.mktemp("other"), Settings(auth_ttl_min=1, push=True)) as lab:
        yield lab


@dataclass(frozen=True)
class Launcher:
    """Creates stacks, each with a name of its own, and sees to their deletion."""

    heat: Heat
    guest: Guest
    started: list[Stack]

    def __call__(self, template: str, **parameters: object) -> Stack:
        """A stack whose scripts note their runs in the guest's file, and which the guest is booted into."""
        stack = create(self.heat, self.guest, template, parameters)
        self.started.append(stack)
        self.guest.boot(self.heat.bootstrap(stack))
        return stack

    def update(self, stack: Stack, template: str, **parameters: object) -> None:
        self.heat.update(stack, template, {**parameters, "runs": str(self.guest.runs)})


def create(heat: Heat, guest: Guest, template: str, parameters: Facts, **more: object) -> Stack:
    name = f"e2e-{Path(template).stem}-{os.getpid()}-{next(NUMBERS)}"
    return heat.create(name, template, {**parameters, "runs": str(guest.runs)}, **more)


@dataclass(frozen=True)
class Member:
    """A guest with an agent that runs, and the stack that it belongs to; `id` is that of its first deployment."""

    heat: Heat
    transports: Transports
    guest: Guest
    stack: Stack
    given: Facts
    id: str

    def update(self, **parameters: object) -> None:
        self.heat.update(self.stack, "script.yaml", {**self.given, **parameters, "runs": str(self.guest.runs)})

    def let_go(self) -> None:
        """Let the script come to its end."""
        self.guest.runs.with_name("runs.leave").touch()

    def hold_again(self) -> None:
        self.guest.runs.with_name("runs.leave").unlink()

    def script(self) -> int:
        return int(self.guest.runs.with_name("runs.pid").read_text())

    def wait_ended(self, script: int) -> None:
        eventually(lambda: processes.started_at(script) is None, f"the script of {self} to be gone")

    def wait_state(self, state: str) -> None:
        eventually(lambda: self.guest.journal(self.id)["state"] == state, f"{self} to be {state}")

    def __str__(self) -> str:
        return str(self.transports)


@contextmanager
def crew(
    heat: Heat,
    home: Path,
    ways: Collection[Transports],
    settings: Facts,
    *,
    disable_rollback: bool = True,
    timeout_min: int = 10,
    **parameters: object,
) -> Iterator[list[Member]]:
    """A member for each way to talk, side by side, since most of the time is waiting; each script has begun."""
    given = {"script": WAITS_FOR_LEAVE, "word": "one", **parameters}
    members = []
    with ExitStack() as ending:
        guests = [Guest(home / str(way)) for way in ways]
        for guest in guests:  # before the stacks, whose time may be short
            guest.root.mkdir()
            guest.configure(**settings)
            ending.enter_context(guest.daemon())
        for guest in guests:
            guest.wait_begun()
        for way, guest in zip(ways, guests, strict=True):
            own = {**given, **way.parameters}
            more = {"disable_rollback": disable_rollback, "timeout_min": timeout_min}
            stack = create(heat, guest, "script.yaml", own, **more)
            ending.callback(heat.delete, stack)
            members.append(Member(heat, way, guest, stack, own, ""))
        for number, member in enumerate(members):
            member.guest.boot(heat.bootstrap(member.stack))
            members[number] = replace(member, id=heat.wait_offered(member.stack, "hello"))
        for member in members:
            member.guest.wait_ran("CREATE one")
        yield members


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
