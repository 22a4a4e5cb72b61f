"""Every way in which a guest polls with every way in which it answers, but for those that test_create.py has."""

import pytest

from tests.e2e.cloud import Heat, eventually
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import BY_URL, CFN, CROSSED, HEAT, TEMP_URL, ZAQAR, Transports

POLLS = ("POLL_SERVER_CFN", "POLL_SERVER_HEAT", "POLL_TEMP_URL", "ZAQAR_MESSAGE")
SIGNALS = ("CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "ZAQAR_SIGNAL", "NO_SIGNAL")
OTHERS = [
    combination
    for combination in (Transports(poll, signal) for poll in POLLS for signal in SIGNALS)
    if combination not in (HEAT, CFN, *CROSSED, TEMP_URL)
]
EXITS_3 = """#!/bin/sh
echo run >> "$runs"
exit 3
"""


def run_until(guest: Guest, line: str, status: int = 0) -> None:
    """Poll until the script has run: a queue and an object are written after Heat offers a deployment itself."""

    def ran() -> bool:
        done = guest.once()
        assert done.returncode in {0, status}, done.stderr
        return line in guest.ran()

    eventually(ran, f"the run {line!r}")


@pytest.mark.parametrize("transports", OTHERS, ids=str)
def test_a_deployment_and_its_update_complete(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    stack = launch("script.yaml", **transports.parameters, word="one")
    offered = heat.wait_offered(stack, "hello")
    run_until(guest, "CREATE one")
    heat.wait(stack, "CREATE_COMPLETE")

    launch.update(stack, "script.yaml", **transports.parameters, word="two")
    heat.wait_offered(stack, "hello", but=offered)
    run_until(guest, "UPDATE two")

    heat.wait(stack, "UPDATE_COMPLETE")
    assert ["CREATE one", "UPDATE two"] == guest.ran()
    if transports.signal != "NO_SIGNAL":
        assert "hello two" == heat.outputs(stack)["greeting"]


@pytest.mark.parametrize("transports", [ZAQAR, BY_URL], ids=str)
def test_a_failing_deployment_fails_the_stack(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    stack = launch("script.yaml", **transports.parameters, script=EXITS_3)
    heat.wait_offered(stack, "hello")

    run_until(guest, "run", status=1)

    assert "non-zero status code: 3" in heat.wait(stack, "CREATE_FAILED").reason


def test_an_empty_queue_leaves_what_was_read_as_it_is_over_a_restart(
    heat: Heat, guest: Guest, launch: Launcher
) -> None:
    stack = launch("script.yaml", **ZAQAR.parameters)
    heat.wait_offered(stack, "hello")
    run_until(guest, "CREATE world")

    done = [guest.once() for _ in range(2)]

    heat.wait(stack, "CREATE_COMPLETE")
    assert [0, 0] == [agent.returncode for agent in done], done[-1].stderr
    assert ["CREATE world"] == guest.ran()
