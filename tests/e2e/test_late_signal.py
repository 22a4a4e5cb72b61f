"""An outcome whose acknowledgement is not on disk: sent again while its deployment stands, never afterwards.

Heat's signal carries no deployment id, so an old outcome would complete whatever deployment stands there.
The situation is that of an agent killed between Heat's answer and the note of it.
"""

import pytest

from tests.e2e.cloud import Heat, Stack, eventually
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import CFN, EACH_POLL, HEAT, Transports


@pytest.mark.parametrize("transports", EACH_POLL, ids=str)
def test_an_old_outcome_never_fills_the_outputs_of_the_next_deployment(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    stack = launch("script.yaml", **transports.parameters, word="old")
    old = heat.wait_offered(stack, "hello")
    guest.once()
    heat.wait(stack, "CREATE_COMPLETE")
    guest.forget_acknowledgement(old)
    launch.update(stack, "script.yaml", **transports.parameters, word="new")
    new = heat.wait_offered(stack, "hello", but=old)

    done = guest.once()

    assert 0 == done.returncode, done.stderr
    heat.wait(stack, "UPDATE_COMPLETE")
    assert "hello new" == heat.outputs(stack)["greeting"]
    assert ("superseded", "signalled") == (guest.journal(old)["state"], guest.journal(new)["state"])
    assert ["CREATE old", "UPDATE new"] == guest.ran()


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_an_outcome_is_sent_again_while_its_deployment_stands_and_the_script_is_not_run_again(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    stack = launch("script.yaml", **transports.parameters)
    identity = heat.wait_offered(stack, "hello")
    guest.once()
    heat.wait(stack, "CREATE_COMPLETE")
    guest.forget_acknowledgement(identity)

    done = guest.once()

    assert 0 == done.returncode, done.stderr
    assert "signalled" == guest.journal(identity)["state"]
    assert "hello world" == heat.outputs(stack)["greeting"]
    eventually(lambda: 2 == signals(heat, stack), "Heat to have seen two signals")
    assert ["CREATE world"] == guest.ran()


def signals(heat: Heat, stack: Stack) -> int:
    """How many signals Heat took for the deployment; it notes them a little later than it answers."""
    return len([event for event in heat.events(stack) if event.startswith("deployment SIGNAL_")])
