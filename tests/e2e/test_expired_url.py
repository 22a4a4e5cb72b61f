"""A CFN_SIGNAL URL ends before its hook does: the outcome takes another door, where the server has one.

One lab whose signed URLs live a minute, and one wait for all cases.
"""

import time
from collections.abc import Iterator

import pytest

from tests.e2e.cloud import Heat, eventually
from tests.e2e.conftest import Member, crew
from tests.e2e.transports import Transports

pytestmark = pytest.mark.slow

URL_LIVES_S = 60.0
WITH_A_DOOR = ("POLL_SERVER_HEAT", "POLL_SERVER_CFN", "ZAQAR_MESSAGE")
WITHOUT = "POLL_TEMP_URL"


@pytest.fixture(scope="module")
def late(other_heat: Heat, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Member]]:
    """A guest per way of polling, whose hook has just ended after its URL did; the agents still run."""
    settings = {"polling_interval": 1, "cfn__polling_interval": 2, "cfn__min_polling_interval": 2, "signal_backoff": 1}
    ways = [Transports(poll, "CFN_SIGNAL") for poll in (*WITH_A_DOOR, WITHOUT)]
    with crew(other_heat, tmp_path_factory.mktemp("late"), ways, settings, word="one") as members:
        time.sleep(URL_LIVES_S + 5)
        for member in members:
            member.let_go()
        yield {member.transports.poll: member for member in members}


@pytest.mark.parametrize("poll", WITH_A_DOOR)
def test_a_late_outcome_arrives_as_the_servers_own(other_heat: Heat, late: dict[str, Member], poll: str) -> None:
    case = late[poll]

    other_heat.wait(case.stack, "CREATE_COMPLETE")

    assert "hello one" == other_heat.outputs(case.stack)["greeting"]
    assert "signalled through another door" in case.guest.log()
    assert ["CREATE one"] == case.guest.ran()


def test_a_late_outcome_without_another_door_stays_and_says_why(other_heat: Heat, late: dict[str, Member]) -> None:
    case = late[WITHOUT]

    eventually(lambda: case.guest.journal(case.id)["reason"], "the outcome to be refused")

    known = case.guest.journal(case.id)
    assert "received" == known["state"]
    assert "auth_ttl" in known["reason"]
    assert "CREATE_IN_PROGRESS" == other_heat.status(case.stack).word
