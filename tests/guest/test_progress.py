"""The steps of a deployment in a unit are shown to its handle, also while the agent is restarted."""

from __future__ import annotations

from contextlib import ExitStack

from tests.guest.guest import Guest
from tests.guest.machine import UNIT, give, outcome, script, until
from tests.process.endpoint import Endpoint, listening

SPEAKS = """#!/bin/sh -e
echo "half way" >> "$heat_progress_path"
while [ ! -e /root/go-steps ]; do sleep 0.05; done
echo "nearly there" >> "$heat_progress_path"
"""


def reasons(endpoint: Endpoint) -> list[str]:
    bodies = [signal.body for signal in endpoint.of("handle")]
    return [body["reason"].rpartition(" after")[0] or body["reason"] for body in bodies]


def test_the_steps_of_a_unit_are_events_of_the_handle_over_a_restart_of_the_agent(guest: Guest) -> None:
    with ExitStack() as stack:
        endpoint = guest.inside(lambda: stack.enter_context(listening()))
        stack_of_heat = "arn%3Aopenstack%3Aheat%3A%3Ap%3Astacks/s/u/resources/handle"
        handle = f"http://127.0.0.1:{endpoint.port}/v1/signal/{stack_of_heat}"
        give(guest, script("steps", SPEAKS, name="web", options={"progress": handle}))
        until(guest, lambda: "web: half way" in reasons(endpoint), "the first words to be shown")

        guest.ask("systemctl", "restart", UNIT)
        (guest.root / "root/go-steps").touch()

        assert 0 == outcome(guest, "steps")["deploy_status_code"]
        until(guest, lambda: len(reasons(endpoint)) >= 4, "the last event")
        assert ["web: started", "web: half way", "web: nearly there", "web: ended with status 0"] == reasons(endpoint)
