"""A real Zaqar tells of a message at once: nothing waits for the next poll."""

import pytest

from tests.e2e.cloud import Heat
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import ZAQAR

pytestmark = pytest.mark.slow

SELDOM = {"polling_interval": 600, "min_polling_interval": 600}


def test_a_change_is_pushed_to_the_daemon_which_hardly_polls(other_heat: Heat, guest: Guest) -> None:
    launch = Launcher(other_heat, guest, [])
    guest.configure(**SELDOM)
    stack = launch("script.yaml", **ZAQAR.parameters, word="one")
    try:
        with guest.daemon():
            guest.wait_logged("subscribed to the queue")
            guest.wait_ran("CREATE one")
            other_heat.wait(stack, "CREATE_COMPLETE")
            launch.update(stack, "script.yaml", **ZAQAR.parameters, word="two")
            guest.wait_ran("UPDATE two")
            other_heat.wait(stack, "UPDATE_COMPLETE")
        greeting = other_heat.outputs(stack)["greeting"]
    finally:
        other_heat.delete(stack)

    assert ["CREATE one", "UPDATE two"] == guest.ran()
    assert "hello two" == greeting
