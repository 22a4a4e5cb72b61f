"""The steps of a hook are events that the stack's owner reads; its deployment stays in progress until its outcome."""

import pytest
import requests

from tests.e2e.cloud import REQUEST_S, Heat, Stack, eventually
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import CFN, HEAT, Transports

STEPS = ("hello: started", "hello: half way", "hello: ended with status 0")
WAYS = [
    pytest.param(HEAT, {"named": True}, id="a name, by the deployment's user"),
    pytest.param(Transports("POLL_SERVER_HEAT", "TEMP_URL_SIGNAL"), {"named": True}, id="a name, by the server's user"),
    pytest.param(CFN, {"named": True}, id="a name, by the server's keys"),
    pytest.param(Transports("POLL_TEMP_URL", "CFN_SIGNAL"), {"handle_transport": "CFN_SIGNAL"}, id="a signed URL"),
    pytest.param(
        Transports("POLL_TEMP_URL", "CFN_SIGNAL"), {"handle_transport": "HEAT_SIGNAL"}, id="the handle's own user"
    ),
]


def events_of_handle(heat: Heat, stack: Stack) -> list[str]:
    signals = [event for event in heat.events(stack) if event.startswith("steps SIGNAL_COMPLETE")]
    return [event.partition("reason:")[2].partition(" after ")[0] for event in signals]


@pytest.mark.parametrize(("transports", "parameters"), WAYS)
def test_the_owner_reads_each_step_while_the_deployment_stays_in_progress(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports, parameters: dict[str, object]
) -> None:
    held = guest.runs.with_name("runs.held")
    held.touch()
    stack = launch("progress.yaml", **transports.parameters, **parameters)
    heat.wait_offered(stack, "hello")
    guest.configure(polling_interval=1, cfn__polling_interval=1, cfn__min_polling_interval=1)

    with guest.daemon():
        eventually(lambda: STEPS[1] in events_of_handle(heat, stack), "the hook's own words")
        meanwhile = heat.deployment(stack, "deployment")["status"], heat.status(stack).word
        held.unlink()
        heat.wait(stack, "CREATE_COMPLETE")
        eventually(lambda: STEPS[2] in events_of_handle(heat, stack), "the end")

    assert ("IN_PROGRESS", "CREATE_IN_PROGRESS") == meanwhile
    assert STEPS == tuple(events_of_handle(heat, stack))


def test_a_handle_in_a_store_carries_the_newest_step_as_metadata_of_its_object(
    heat: Heat, guest: Guest, launch: Launcher
) -> None:
    held = guest.runs.with_name("runs.held")
    held.touch()
    transports = Transports("POLL_TEMP_URL", "TEMP_URL_SIGNAL")
    stack = launch("progress.yaml", **transports.parameters, handle_transport="TEMP_URL_SIGNAL")
    heat.wait_offered(stack, "hello")
    guest.configure(polling_interval=1)

    with guest.daemon():
        eventually(lambda: STEPS[1] in shown_in_store(heat, stack), "the hook's own words")
        meanwhile = heat.status(stack).word
        held.unlink()
        heat.wait(stack, "CREATE_COMPLETE")
        eventually(lambda: any(STEPS[2] in text for text in shown_in_store(heat, stack)), "the end")

    assert "CREATE_IN_PROGRESS" == meanwhile


def shown_in_store(heat: Heat, stack: Stack) -> list[str]:
    """What the objects of the stack's container say of the progress, as its owner sees them."""
    project = heat.endpoint.rpartition("/")[2]
    container = f"{heat.lab.url('swift')}/v1/AUTH_{project}/{stack.id}"
    listed = heat.session.get(f"{container}?format=json", timeout=REQUEST_S)
    heads: list[requests.Response] = [
        heat.session.head(f"{container}/{entry['name']}", timeout=REQUEST_S)
        for entry in (listed.json() if listed.ok else [])
    ]
    return [head.headers["X-Object-Meta-Progress"] for head in heads if "X-Object-Meta-Progress" in head.headers]
