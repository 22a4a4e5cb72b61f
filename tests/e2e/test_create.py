"""A stack is created: the script runs once, and its outcome is the stack's."""

import pytest

from tests.e2e.cloud import Heat
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import CFN, CROSSED, HEAT, TEMP_URL, Transports


@pytest.mark.parametrize("transports", [HEAT, CFN, *CROSSED, TEMP_URL], ids=str)
def test_a_script_completes_its_stack_and_its_outputs_are_the_stacks(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    stack = launch("script.yaml", **transports.parameters, word="wörld")
    heat.wait_offered(stack, "hello")

    done = guest.once()

    assert 0 == done.returncode, done.stderr
    heat.wait(stack, "CREATE_COMPLETE")
    assert {
        "greeting": "hello wörld",
        "stdout": "to stdout\n",
        "stderr": "to stderr\n",
        "status_code": 0,
    } == heat.outputs(stack)
    assert ["CREATE wörld"] == guest.ran()


def test_a_deployment_that_nobody_waits_for_runs_once(heat: Heat, guest: Guest, launch: Launcher) -> None:
    stack = launch("script.yaml", signal_transport="NO_SIGNAL")
    heat.wait(stack, "CREATE_COMPLETE")

    first, second = guest.once(), guest.once()

    assert (0, 0) == (first.returncode, second.returncode), first.stderr + second.stderr
    assert ["CREATE world"] == guest.ran()


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_the_second_deployment_waits_for_the_first_and_an_update_runs_only_what_changed(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    stack = launch("two.yaml", **transports.parameters)
    for name in ("first", "second"):
        heat.wait_offered(stack, name)
        done = guest.once()
        assert 0 == done.returncode, done.stderr
    heat.wait(stack, "CREATE_COMPLETE")
    created = guest.ran()
    known = heat.offered(stack)

    launch.update(stack, "two.yaml", **transports.parameters, second_word="three")
    heat.wait_offered(stack, "second", but=known["second"]["id"])
    done = guest.once()

    assert 0 == done.returncode, done.stderr
    heat.wait(stack, "UPDATE_COMPLETE")
    assert {"first": "one", "second": "three"} == heat.outputs(stack)
    assert ["CREATE one", "CREATE two"] == created
    assert [*created, "UPDATE three"] == guest.ran()
    assert known["first"]["id"] == heat.offered(stack)["first"]["id"]


def test_the_daemon_completes_a_stack_without_being_asked(heat: Heat, guest: Guest, launch: Launcher) -> None:
    guest.configure(polling_interval=1)
    stack = launch("two.yaml", **HEAT.parameters)

    with guest.daemon():
        heat.wait(stack, "CREATE_COMPLETE")

    assert {"first": "one", "second": "two"} == heat.outputs(stack)
    assert ["CREATE one", "CREATE two"] == guest.ran()
