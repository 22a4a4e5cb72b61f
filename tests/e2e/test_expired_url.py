"""A CFN_SIGNAL URL ends before its hook does: the outcome takes another door, where the server has one.

One lab whose signed URLs live a minute, and one wait for all cases.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.conftest import IN_CI, require
from tests.e2e.cloud import Heat, Stack, eventually
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import Transports
from tests.lab import services
from tests.lab.errors import LabError
from tests.lab.model import Settings

pytestmark = pytest.mark.slow

URL_LIVES_S = 60.0
WITH_A_DOOR = ("POLL_SERVER_HEAT", "POLL_SERVER_CFN", "ZAQAR_MESSAGE")
WITHOUT = "POLL_TEMP_URL"
WAITS_FOR_LEAVE = """#!/bin/sh
echo started >> "$runs"
while [ ! -e "$runs.leave" ]; do sleep 0.2; done
printf 'at last' > "$heat_outputs_path.greeting"
"""


@dataclass(frozen=True)
class Case:
    guest: Guest
    stack: Stack
    id: str


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Heat]:
    """A Heat whose signed URLs live one minute."""
    try:
        lab = services.open_lab(tmp_path_factory.mktemp("hasty"), Settings(auth_ttl_min=1))
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


@pytest.fixture(scope="module")
def late(hasty: Heat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """A guest per way of polling, whose hook has just ended after its URL did; the agents still run."""
    cases: dict[str, Case] = {}
    with ExitStack() as stack_of:
        for poll in (*WITH_A_DOOR, WITHOUT):
            guest = Guest(tmp_path_factory.mktemp(poll))
            guest.configure(polling_interval=1, cfn__polling_interval=2, cfn__min_polling_interval=2, signal_backoff=1)
            transports = Transports(poll, "CFN_SIGNAL")
            stack = Launcher(hasty, guest, [])("script.yaml", **transports.parameters, script=WAITS_FOR_LEAVE)
            stack_of.callback(hasty.delete, stack)
            cases[poll] = Case(guest, stack, hasty.wait_offered(stack, "hello"))
            stack_of.enter_context(guest.daemon())
        for case in cases.values():
            case.guest.wait_ran("started")
        time.sleep(URL_LIVES_S + 5)
        for case in cases.values():
            case.guest.runs.with_name("runs.leave").touch()
        yield cases


@pytest.mark.parametrize("poll", WITH_A_DOOR)
def test_a_late_outcome_arrives_as_the_servers_own(hasty: Heat, late: dict[str, Case], poll: str) -> None:
    case = late[poll]

    hasty.wait(case.stack, "CREATE_COMPLETE")

    assert "at last" == hasty.outputs(case.stack)["greeting"]
    assert "signalled through another door" in case.guest.log()
    assert ["started"] == case.guest.ran()


def test_a_late_outcome_without_another_door_stays_and_says_why(hasty: Heat, late: dict[str, Case]) -> None:
    case = late[WITHOUT]

    eventually(lambda: case.guest.journal(case.id)["reason"], "the outcome to be refused", 30)

    known = case.guest.journal(case.id)
    assert "received" == known["state"]
    assert "auth_ttl" in known["reason"]
    assert "CREATE_IN_PROGRESS" == hasty.status(case.stack).word
