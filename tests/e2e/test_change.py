"""A stack changes and ends: each change runs once, and the last script runs before the stack is gone."""

import pytest

from tests.e2e.cloud import Heat
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import CFN, HEAT, Transports

SHOUTS = """#!/bin/sh
echo "SHOUT $word" >> "$runs"
printf 'HELLO %s' "$word" > "$heat_outputs_path.greeting"
"""
EVERY_SECOND = {
    "polling_interval": 1,
    "cfn__polling_interval": 1,
    "cfn__min_polling_interval": 1,
}


def test_a_changed_config_runs_and_an_unchanged_one_does_not(heat: Heat, guest: Guest, launch: Launcher) -> None:
    stack = launch("script.yaml", **HEAT.parameters)
    old = heat.wait_offered(stack, "hello")
    guest.once()
    heat.wait(stack, "CREATE_COMPLETE")

    launch.update(stack, "script.yaml", **HEAT.parameters)
    heat.wait(stack, "UPDATE_COMPLETE")
    idle = guest.once()
    launch.update(stack, "script.yaml", **HEAT.parameters, script=SHOUTS)
    heat.wait_offered(stack, "hello", but=old)
    changed = guest.once()

    assert (0, 0) == (idle.returncode, changed.returncode), idle.stderr + changed.stderr
    heat.wait(stack, "UPDATE_COMPLETE")
    assert "HELLO world" == heat.outputs(stack)["greeting"]
    assert ["CREATE world", "SHOUT world"] == guest.ran()


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_a_deployment_for_delete_runs_while_the_stack_is_deleted(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    guest.configure(**EVERY_SECOND)
    stack = launch("script.yaml", **transports.parameters, actions="DELETE")
    heat.wait(stack, "CREATE_COMPLETE")

    with guest.daemon():
        heat.delete(stack)
        heat.wait_gone(stack)

    assert ["DELETE world"] == guest.ran()


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_a_component_lives_through_create_update_and_delete(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    guest.configure(**EVERY_SECOND)
    stack = launch("component.yaml", **transports.parameters)

    with guest.daemon():
        heat.wait(stack, "CREATE_COMPLETE")
        created = heat.outputs(stack)["done"]
        launch.update(stack, "component.yaml", **transports.parameters, version="2")
        heat.wait(stack, "UPDATE_COMPLETE")
        updated = heat.outputs(stack)["done"]
        heat.delete(stack)
        heat.wait_gone(stack)

    assert ("created 1", "updated 2") == (created, updated)
    assert ["created 1", "updated 2", "deleted 2"] == guest.ran()
