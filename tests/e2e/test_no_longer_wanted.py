"""What the owner does while a hook runs, and what the guest sees and does then, on every way of polling side by side.

Heat tells a guest only that an id has left its document. An update or a cancelled one waits for the hook, unseen.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.cloud import Heat, eventually
from tests.e2e.conftest import Member, crew
from tests.e2e.transports import EACH_POLL

OFTEN = {
    "polling_interval": 0.5,
    "min_polling_interval": 0.5,
    "cfn__polling_interval": 1,
    "cfn__min_polling_interval": 0.5,
    "kill_grace": 2,
}


@pytest.fixture
def members(heat: Heat, tmp_path: Path) -> Iterator[list[Member]]:
    """A guest for each way of polling; its script waits to be let go."""
    with crew(heat, tmp_path, EACH_POLL, OFTEN) as began:
        yield began


def each(members: list[Member], look: Callable[[Member], Any]) -> dict[str, Any]:
    """What there is to see at each member, by its name."""
    return {str(member): look(member) for member in members}


def all_of(members: list[Member], value: object) -> dict[str, Any]:
    return dict.fromkeys(map(str, members), value)


def updated(heat: Heat, members: list[Member]) -> None:
    """Complete the creation and let the script of an update begin."""
    for member in members:
        member.let_go()
    for member in members:
        heat.wait(member.stack, "CREATE_COMPLETE")
        member.hold_again()
        member.update(word="two")
    for member in members:
        member.guest.wait_ran("UPDATE two")


def cancelled(heat: Heat, members: list[Member], how: str, status: str) -> None:
    """Cancel an update whose script runs, and let that one end when the stack has got there."""
    updated(heat, members)
    for member in members:
        heat.call("POST", f"{member.stack.path}/actions", {how: None})
    for member in members:
        heat.wait(member.stack, status)
        member.let_go()


def delete_deployment(heat: Heat, member: Member) -> None:
    object_id = heat.resource(member.stack, "deployment")["physical_resource_id"]
    heat.call("DELETE", f"/software_deployments/{object_id}")


def greeting(heat: Heat, member: Member) -> str:
    return str(heat.outputs(member.stack)["greeting"])


def test_an_update_waits_for_the_running_script_and_runs_after_it(heat: Heat, members: list[Member]) -> None:
    for member in members:
        member.update(word="two")
    for member in members:
        heat.wait(member.stack, "UPDATE_IN_PROGRESS")
    meanwhile = each(members, lambda member: heat.offered(member.stack)["hello"]["id"])
    for member in members:
        member.let_go()
    for member in members:
        heat.wait(member.stack, "UPDATE_COMPLETE")

    assert each(members, lambda member: member.id) == meanwhile
    # Heat makes the update's deployment twice now and then (2 of 10 by CFN), each with its own id: each id runs once.
    runs = each(members, lambda member: (member.guest.ran()[0], set(member.guest.ran()[1:])))
    assert all_of(members, ("CREATE one", {"UPDATE two"})) == runs
    assert each(members, lambda member: len(member.guest.ran())) == each(members, lambda member: member.guest.known())
    assert all_of(members, "hello two") == each(members, partial(greeting, heat))
    assert all_of(members, "signalled") == each(members, lambda member: member.guest.journal(member.id)["state"])


def test_a_cancelled_update_with_rollback_runs_the_old_values_next(heat: Heat, members: list[Member]) -> None:
    cancelled(heat, members, "cancel_update", "ROLLBACK_IN_PROGRESS")
    for member in members:
        heat.wait(member.stack, "ROLLBACK_COMPLETE")

    ran = each(members, lambda member: member.guest.ran())
    assert all_of(members, ["CREATE one", "UPDATE two", "UPDATE one"]) == ran
    assert all_of(members, "hello one") == each(members, partial(greeting, heat))


def test_a_cancelled_update_without_rollback_takes_the_late_outcome(heat: Heat, members: list[Member]) -> None:
    cancelled(heat, members, "cancel_without_rollback", "UPDATE_FAILED")
    for member in members:
        complete = partial(completed, heat, member)
        eventually(complete, f"the late outcome of {member}")

    assert all_of(members, "UPDATE_FAILED") == each(members, lambda member: heat.status(member.stack).word)
    assert all_of(members, ["CREATE one", "UPDATE two"]) == each(members, lambda member: member.guest.ran())


def completed(heat: Heat, member: Member) -> bool:
    return bool(heat.deployment(member.stack, "deployment")["status"] == "COMPLETE")


def test_a_deleted_stack_ends_the_script_and_nothing_is_sent(heat: Heat, members: list[Member]) -> None:
    scripts = each(members, Member.script)

    for member in members:
        heat.delete(member.stack)
    for member in members:
        member.wait_ended(scripts[str(member)])
        member.wait_state("superseded")
        heat.wait_gone(member.stack)

    assert all_of(members, ["CREATE one"]) == each(members, lambda member: member.guest.ran())


def test_a_deletion_with_an_action_ends_the_script_and_runs_the_last_one(heat: Heat, tmp_path: Path) -> None:
    with crew(heat, tmp_path, EACH_POLL, OFTEN, actions="CREATE,UPDATE,DELETE") as members:
        scripts = each(members, Member.script)
        for member in members:
            heat.delete(member.stack)
        for member in members:
            member.guest.wait_ran("DELETE one")
            member.wait_ended(scripts[str(member)])
            member.let_go()
        for member in members:
            heat.wait_gone(member.stack)

        assert all_of(members, ["CREATE one", "DELETE one"]) == each(members, lambda member: member.guest.ran())
        assert all_of(members, "superseded") == each(members, lambda member: member.guest.journal(member.id)["state"])


def test_a_script_ends_when_the_owner_deletes_its_deployment(heat: Heat, members: list[Member]) -> None:
    scripts = each(members, Member.script)

    for member in members:
        delete_deployment(heat, member)
    for member in members:
        member.wait_ended(scripts[str(member)])
        member.wait_state("superseded")
        heat.wait(member.stack, "CREATE_FAILED")

    assert all_of(members, ["CREATE one"]) == each(members, lambda member: member.guest.ran())


def test_a_deployment_failed_by_its_owner_is_not_seen_by_the_script(heat: Heat, members: list[Member]) -> None:
    for member in members:
        object_id = heat.resource(member.stack, "deployment")["physical_resource_id"]
        heat.call("PUT", f"/software_deployments/{object_id}", {"status": "FAILED", "status_reason": "by hand"})
    for member in members:
        heat.wait(member.stack, "CREATE_FAILED")
        member.let_go()
    for member in members:
        member.wait_state("signalled")

    assert all_of(members, ["CREATE one"]) == each(members, lambda member: member.guest.ran())
    assert all_of(members, "CREATE_FAILED") == each(members, lambda member: heat.status(member.stack).word)


@pytest.mark.slow
def test_a_stack_out_of_time_ends_the_script_if_it_rolls_back_and_else_overlooks_its_outcome(
    heat: Heat, tmp_path: Path
) -> None:
    """Heat's shortest limit is a minute. Without rollback nothing tells the guest."""
    homes = [tmp_path / name for name in ("stays", "rolls-back")]
    for home in homes:
        home.mkdir()
    with (
        crew(heat, homes[0], EACH_POLL, OFTEN, timeout_min=1) as staying,
        crew(heat, homes[1], EACH_POLL, OFTEN, timeout_min=1, disable_rollback=False) as rolling_back,
    ):
        scripts = each(rolling_back, Member.script)
        for member in staying:
            heat.wait(member.stack, "CREATE_FAILED")
            member.let_go()
        for member in staying:
            member.wait_state("signalled")
        for member in rolling_back:
            member.wait_ended(scripts[str(member)])
            member.wait_state("superseded")

        status = each(staying, lambda member: heat.deployment(member.stack, "deployment")["status"])
        assert all_of(staying, "FAILED") == status
        assert all_of(staying, "CREATE_FAILED") == each(staying, lambda member: heat.status(member.stack).word)
