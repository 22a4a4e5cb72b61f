"""What the owner does while a hook runs, and what the guest sees and does then.

Heat tells a guest only that an id has left its document. An update or a cancelled one waits for the hook, unseen.
"""

import pytest

from tests.e2e.cloud import Heat, Stack, declared, eventually
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import CFN, HEAT, Transports
from tests.lab import processes

OFTEN = {
    "polling_interval": 0.5,
    "min_polling_interval": 0.5,
    "cfn__polling_interval": 0.5,
    "cfn__min_polling_interval": 0.5,
    "kill_grace": 2,
}
WAITS_FOR_LEAVE = """#!/bin/sh
echo $$ > "$runs.pid"
echo "$deploy_action $word" >> "$runs"
while [ ! -e "$runs.leave" ]; do sleep 0.2; done
printf 'hello %s' "$word" > "$heat_outputs_path.greeting"
"""


def let_go(guest: Guest) -> None:
    guest.runs.with_name("runs.leave").touch()


def hold_again(guest: Guest) -> None:
    guest.runs.with_name("runs.leave").unlink()


def wait_ended(guest: Guest) -> None:
    pid = int(guest.runs.with_name("runs.pid").read_text())
    eventually(lambda: processes.started_at(pid) is None, "the script to be gone", 30)


def cancel_update(heat: Heat, stack: Stack, how: str) -> None:
    heat.call("POST", f"{stack.path}/actions", {how: None})


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_an_update_waits_for_the_running_script_and_runs_after_it(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    guest.configure(**OFTEN)
    given = {**transports.parameters, "script": WAITS_FOR_LEAVE}
    stack = launch("script.yaml", **given, word="one")
    old = heat.wait_offered(stack, "hello")

    with guest.daemon():
        guest.wait_ran("CREATE one")
        launch.update(stack, "script.yaml", **given, word="two")
        heat.wait(stack, "UPDATE_IN_PROGRESS")
        meanwhile = heat.offered(stack)["hello"]["id"]
        let_go(guest)
        heat.wait(stack, "UPDATE_COMPLETE")

    assert old == meanwhile
    # Heat makes the update's deployment twice now and then (2 of 10 by CFN), each with its own id: each id runs once.
    first, *updates = guest.ran()
    assert ("CREATE one", {"UPDATE two"}) == (first, set(updates))
    assert guest.known() == len(guest.ran())
    assert "hello two" == heat.outputs(stack)["greeting"]
    assert "signalled" == guest.journal(old)["state"]


def test_a_cancelled_update_with_rollback_runs_the_old_values_next(heat: Heat, guest: Guest, launch: Launcher) -> None:
    guest.configure(**OFTEN)
    given = {**HEAT.parameters, "script": WAITS_FOR_LEAVE}
    stack = launch("script.yaml", **given, word="one")

    with guest.daemon():
        guest.wait_ran("CREATE one")
        let_go(guest)
        heat.wait(stack, "CREATE_COMPLETE")
        hold_again(guest)
        launch.update(stack, "script.yaml", **given, word="two")
        guest.wait_ran("UPDATE two")
        cancel_update(heat, stack, "cancel_update")
        heat.wait(stack, "ROLLBACK_IN_PROGRESS")
        let_go(guest)
        heat.wait(stack, "ROLLBACK_COMPLETE")

    assert ["CREATE one", "UPDATE two", "UPDATE one"] == guest.ran()
    assert "hello one" == heat.outputs(stack)["greeting"]


def test_a_cancelled_update_without_rollback_takes_the_late_outcome(heat: Heat, guest: Guest, launch: Launcher) -> None:
    guest.configure(**OFTEN)
    given = {**HEAT.parameters, "script": WAITS_FOR_LEAVE}
    stack = launch("script.yaml", **given, word="one")

    with guest.daemon():
        guest.wait_ran("CREATE one")
        let_go(guest)
        heat.wait(stack, "CREATE_COMPLETE")
        hold_again(guest)
        launch.update(stack, "script.yaml", **given, word="two")
        guest.wait_ran("UPDATE two")
        cancel_update(heat, stack, "cancel_without_rollback")
        heat.wait(stack, "UPDATE_FAILED")
        let_go(guest)
        eventually(lambda: heat.deployment(stack, "deployment")["status"] == "COMPLETE", "the late outcome", 30)

    assert "UPDATE_FAILED" == heat.status(stack).word
    assert ["CREATE one", "UPDATE two"] == guest.ran()


def test_a_deletion_with_an_action_ends_the_script_and_runs_the_last_one(
    heat: Heat, guest: Guest, launch: Launcher
) -> None:
    guest.configure(**OFTEN)
    given = {**HEAT.parameters, "script": WAITS_FOR_LEAVE, "actions": "CREATE,UPDATE,DELETE"}
    stack = launch("script.yaml", **given, word="one")
    old = heat.wait_offered(stack, "hello")

    with guest.daemon():
        guest.wait_ran("CREATE one")
        first = guest.runs.with_name("runs.pid").read_text()
        heat.delete(stack)
        guest.wait_ran("DELETE one")
        eventually(lambda: processes.started_at(int(first)) is None, "the first script to be gone", 10)
        let_go(guest)
        heat.wait_gone(stack)

    assert ["CREATE one", "DELETE one"] == guest.ran()
    assert "superseded" == guest.journal(old)["state"]


@pytest.mark.slow
@pytest.mark.parametrize("rollback", [False, True], ids=["stays", "rolls-back"])
def test_a_stack_out_of_time(heat: Heat, guest: Guest, launch: Launcher, rollback: bool) -> None:
    """Heat's shortest limit is a minute. Without rollback nothing tells the guest; its late outcome is ignored."""
    guest.configure(**OFTEN)
    parameters = {**HEAT.parameters, "script": WAITS_FOR_LEAVE, "runs": str(guest.runs)}
    name = f"e2e-timeout-{'rollback' if rollback else 'stays'}-{guest.root.name}"
    body = {**declared("script.yaml", parameters), "stack_name": name, "timeout_mins": 1}
    created = heat.call("POST", "/stacks", {**body, "disable_rollback": not rollback})
    stack = Stack(name, created["stack"]["id"])
    launch.started.append(stack)
    guest.boot(heat.bootstrap(stack))
    identity = heat.wait_offered(stack, "hello")

    with guest.daemon():
        guest.wait_ran("CREATE world")
        if rollback:
            eventually(lambda: "hook cancelled" in guest.log(), "the script to be no longer wanted", 100)
            wait_ended(guest)
        else:
            eventually(lambda: heat.status(stack).word == "CREATE_FAILED", "the stack to be out of time", 100)
            let_go(guest)
            eventually(lambda: guest.journal(identity)["state"] == "signalled", "the late outcome to be taken", 20)

    if not rollback:
        assert "FAILED" == heat.deployment(stack, "deployment")["status"]
        assert "CREATE_FAILED" == heat.status(stack).word


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_a_script_ends_when_the_owner_deletes_its_deployment(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    guest.configure(**OFTEN)
    stack = launch("script.yaml", **transports.parameters, script=WAITS_FOR_LEAVE)
    identity = heat.wait_offered(stack, "hello")

    with guest.daemon():
        guest.wait_ran("CREATE world")
        object_id = heat.resource(stack, "deployment")["physical_resource_id"]
        heat.call("DELETE", f"/software_deployments/{object_id}")
        wait_ended(guest)
        eventually(lambda: guest.journal(identity)["state"] == "superseded", "the outcome to be dropped", 20)
        heat.wait(stack, "CREATE_FAILED")

    assert ["CREATE world"] == guest.ran()


def test_a_deployment_failed_by_its_owner_is_not_seen_by_the_script(heat: Heat, guest: Guest, launch: Launcher) -> None:
    """A failing sibling looks the same from here: the document stays as it is."""
    guest.configure(**OFTEN)
    stack = launch("script.yaml", **HEAT.parameters, script=WAITS_FOR_LEAVE)
    identity = heat.wait_offered(stack, "hello")

    with guest.daemon():
        guest.wait_ran("CREATE world")
        object_id = heat.resource(stack, "deployment")["physical_resource_id"]
        heat.call("PUT", f"/software_deployments/{object_id}", {"status": "FAILED", "status_reason": "by hand"})
        heat.wait(stack, "CREATE_FAILED")
        let_go(guest)
        eventually(lambda: guest.journal(identity)["state"] == "signalled", "the late outcome to be taken", 20)

    assert ["CREATE world"] == guest.ran()
    assert "CREATE_FAILED" == heat.status(stack).word
