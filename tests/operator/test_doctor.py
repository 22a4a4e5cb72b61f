"""The doctor names the cause of each fault, and what to do."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from agent.doctor.causes import BY_CODE, CAUSES
from tests.operator.conftest import Ask
from tests.operator.faults import FAULTS, Scene
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest

HEALTHY = {"nothing-wrong", "hook-running", "nothing-listed", "superseded"}


@pytest.fixture
def scene(guest: Guest, endpoint: Endpoint, tmp_path: Path) -> Iterator[Scene]:
    with ExitStack() as undo:
        yield Scene(guest, endpoint, undo, tmp_path)


@pytest.mark.parametrize("name", FAULTS)
def test_the_cause_of_a_fault_is_named(scene: Scene, ask: Ask, name: str) -> None:
    prepare, code = FAULTS[name]
    prepare(scene)

    said = ask("doctor", "--json")

    assert code == json.loads(said.stdout)["cause"]["code"], said.stdout
    assert (0 if code in HEALTHY else 1) == said.status


def test_each_step_and_the_next_one_are_told_to_people(scene: Scene, ask: Ask) -> None:
    scene.deploy("#!/bin/sh\necho no disk >&2\nexit 3\n")

    said = ask("doctor")

    assert "bad  deployment web" in said.stdout
    assert "because of  deployment web: failed with 3: no disk" in said.stdout
    assert f"most likely {BY_CODE['hook-failed'].title} [hook-failed]" in said.stdout
    assert "what to do  agent show has its output" in said.stdout


def test_offline_nobody_is_asked(scene: Scene, ask: Ask) -> None:
    scene.deploy()
    polls = scene.endpoint.polls

    said = ask("doctor", "--offline")

    assert (0, polls) == (said.status, scene.endpoint.polls)


def test_nothing_is_changed_by_looking(scene: Scene, ask: Ask) -> None:
    scene.deploy()
    before = {path: path.lstat().st_mtime_ns for path in scene.guest.root.rglob("*")}

    ask("doctor")

    assert before == {path: path.lstat().st_mtime_ns for path in scene.guest.root.rglob("*")}


def test_the_list_of_causes_is_closed_and_each_says_what_to_do() -> None:
    assert len(CAUSES) == len(BY_CODE) >= 25
    assert all(cause.next_step for cause in CAUSES)
    assert len(FAULTS) >= 60
    assert {code for _, code in FAULTS.values()} <= BY_CODE.keys()
