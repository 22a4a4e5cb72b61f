"""Something goes away in the middle: Heat, the agent or the wish for the deployment."""

import time

import pytest

from tests.e2e.cloud import Heat, eventually
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import CFN, HEAT, TEMP_URL, Transports
from tests.lab import processes, services

EVERY_SECOND = {"polling_interval": 1, "cfn__polling_interval": 1, "cfn__min_polling_interval": 1}
DELETION_S = 10.0  # longer than Heat needs to delete a small stack
TAKES_3_S = """#!/bin/sh
echo started >> "$runs"
sleep 3
echo finished >> "$runs"
printf 'at last' > "$heat_outputs_path.greeting"
"""
NEVER_ENDS = """#!/bin/sh
sleep 60 &
echo $! > "$runs.pid"
echo started >> "$runs"
wait
"""


@pytest.mark.parametrize(("transports", "listener"), [(HEAT, "heat"), (CFN, "cfn")], ids=str)
def test_an_outcome_waits_for_heat_to_come_back(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports, listener: str
) -> None:
    guest.configure(**EVERY_SECOND, signal_backoff=2)
    stack = launch("script.yaml", **transports.parameters, script=TAKES_3_S)
    identity = heat.wait_offered(stack, "hello")

    with guest.daemon():
        guest.wait_ran("started")
        services.send_away(heat.lab, listener)
        try:
            guest.wait_ran("finished")
            eventually(lambda: "503" in guest.log(), "the agent to be turned away")
        finally:
            services.bring_back(heat.lab, listener)
        heat.wait(stack, "CREATE_COMPLETE")

    assert "at last" == heat.outputs(stack)["greeting"]
    assert ["started", "finished"] == guest.ran()
    assert 0 == guest.outcome(identity)["deploy_status_code"]


@pytest.mark.parametrize("transports", [TEMP_URL, Transports("ZAQAR_MESSAGE", "ZAQAR_SIGNAL")], ids=str)
def test_an_outcome_for_a_store_arrives_while_heat_is_away(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    # An outage of the store itself cannot be tried: Heat looks there each second and fails the stack by itself.
    guest.configure(**EVERY_SECOND, signal_backoff=2)
    stack = launch("script.yaml", **transports.parameters, script=TAKES_3_S)
    identity = heat.wait_offered(stack, "hello")

    with guest.daemon():
        guest.wait_ran("started")
        services.send_away(heat.lab, "heat")
        try:
            guest.wait_ran("finished")
            eventually(lambda: "signalled" == guest.journal(identity)["state"], "the outcome to be taken")
        finally:
            services.bring_back(heat.lab, "heat")
        heat.wait(stack, "CREATE_COMPLETE")

    assert "at last" == heat.outputs(stack)["greeting"]
    assert ["started", "finished"] == guest.ran()


def test_a_script_outlives_an_agent_that_is_killed_and_is_not_run_again(
    heat: Heat, guest: Guest, launch: Launcher
) -> None:
    guest.configure(**EVERY_SECOND)
    stack = launch("script.yaml", **HEAT.parameters, script=TAKES_3_S)
    with guest.daemon() as agent:
        guest.wait_ran("started")
        agent.kill()
        agent.wait()

    with guest.daemon():
        heat.wait(stack, "CREATE_COMPLETE")

    assert "at last" == heat.outputs(stack)["greeting"]
    assert ["started", "finished"] == guest.ran()


def test_a_running_script_is_ended_with_all_its_children_when_its_stack_is_deleted(
    heat: Heat, guest: Guest, launch: Launcher
) -> None:
    # Heat empties the document half a second before the stack is gone: look often enough to see that.
    guest.configure(polling_interval=0.1, min_polling_interval=0.1, kill_grace=2)
    stack = launch("script.yaml", **HEAT.parameters, script=NEVER_ENDS)

    with guest.daemon():
        guest.wait_ran("started")
        heat.delete(stack)
        heat.wait_gone(stack)
        wait_ended(child_of_the_script(guest))

    assert ["started"] == guest.ran()


def test_a_running_script_is_ended_when_only_the_absence_of_its_stack_can_be_seen(
    heat: Heat, guest: Guest, launch: Launcher
) -> None:
    guest.configure(**EVERY_SECOND, kill_grace=2)
    stack = launch("script.yaml", **HEAT.parameters, script=NEVER_ENDS)

    with guest.daemon():
        guest.wait_ran("started")
        heat.delete(stack)
        services.send_away(heat.lab, "heat")
        try:
            time.sleep(DELETION_S)
        finally:
            services.bring_back(heat.lab, "heat")
        heat.wait_gone(stack)
        wait_ended(child_of_the_script(guest))


def child_of_the_script(guest: Guest) -> int:
    return int(guest.runs.with_name("runs.pid").read_text())


def wait_ended(pid: int) -> None:
    eventually(lambda: processes.started_at(pid) is None, f"process {pid} to be gone")
