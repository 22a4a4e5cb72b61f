"""The hook `ansible` with ansible-core and ansible-runner."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.tools import install
from tests.tools.guest import AWKWARD, Guest, deployment

pytestmark = pytest.mark.slow

OUTPUT = {"copy": {"content": "hello {{ who }}", "dest": "{{ heat_outputs_path }}.text"}}
STATS = {"set_stats": {"data": {"ports": [80, 443], "undeclared": "x"}}}


@pytest.fixture
def guest(guest: Guest) -> Guest:
    found = install.directory("ansible")
    require(found, "needs ansible: python -m tests.tools install")
    guest.environment["PATH"] = f"{found}{os.pathsep}{guest.environment['PATH']}"
    return guest


def play(*tasks: dict[str, Any]) -> str:
    return json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": tasks}])


def test_a_playbook_sets_outputs_by_files_and_by_stats(guest: Guest) -> None:
    outcome = guest.hook("ansible", deployment(play(OUTPUT, STATS), inputs={"who": "w"}, outputs=("text", "ports")))

    assert (0, "", "hello w", [80, 443]) == (
        outcome["deploy_status_code"],
        outcome["deploy_stderr"],
        outcome["text"],
        outcome["ports"],
    )
    assert "changed: [localhost]" in outcome["deploy_stdout"]
    assert "undeclared" not in outcome


def test_nothing_but_the_playbook_stays_on_disk(guest: Guest) -> None:
    guest.hook("ansible", deployment(play(OUTPUT), inputs={"who": "w"}))

    working = guest.root / "var/lib/heat-config/heat-config-ansible"
    [left] = working.iterdir()
    assert left.name.endswith("_playbook.yaml")


def test_a_failing_task_is_the_outcome_with_its_error_on_stderr(guest: Guest) -> None:
    outcome = guest.hook("ansible", deployment(play({"fail": {"msg": "no luck"}})))

    assert 2 == outcome["deploy_status_code"]
    assert "no luck" in outcome["deploy_stdout"] + outcome["deploy_stderr"]


def test_a_config_that_is_no_playbook_fails(guest: Guest) -> None:
    outcome = guest.hook("ansible", deployment("- hosts: [\n"))

    assert 0 != outcome["deploy_status_code"]
    assert outcome["deploy_stderr"]


def test_a_hanging_playbook_is_ended_with_all_it_started(guest: Guest) -> None:
    outcome = guest.overdue("ansible", deployment(play({"shell": guest.hanging})))

    assert 124 == outcome["deploy_status_code"]
    assert "timed out after 60 s" in outcome["deploy_stderr"]


def test_a_cancelled_playbook_is_ended_with_all_it_started(guest: Guest) -> None:
    assert 130 == guest.cancel("ansible", deployment(play({"shell": guest.hanging})))


def test_inputs_of_every_type_arrive_typed(guest: Guest) -> None:
    same = "{{ {" + ", ".join(f"'{name}': {name}" for name in AWKWARD) + "} | to_json }}"
    written = {"copy": {"content": same, "dest": "{{ heat_outputs_path }}.seen"}}

    outcome = guest.hook("ansible", deployment(play(written), inputs=AWKWARD, outputs=("seen",)))

    assert AWKWARD == json.loads(outcome["seen"])


def test_heat_s_password_is_no_variable(guest: Guest) -> None:
    told = {"debug": {"msg": "{{ deploy_password | default('unknown') }}"}}

    outcome = guest.hook("ansible", deployment(play(told), inputs={"deploy_password": "secret"}))

    assert "unknown" in outcome["deploy_stdout"]
    assert "secret" not in json.dumps(outcome)


def test_a_guest_without_ansible_is_told_what_to_install(toolless: Guest) -> None:
    outcome = toolless.hook("ansible", deployment(play(OUTPUT)))

    assert 127 == outcome["deploy_status_code"]
    assert "install ansible-core" in outcome["deploy_stderr"]


def test_progress_goes_to_the_live_log_alone(guest: Guest) -> None:
    todo = deployment(play(OUTPUT, STATS), group="ansible", inputs={"who": "w"}, outputs=("text",))

    status, outcomes = guest.once(todo)

    assert 0 == status
    assert "hello w" == outcomes[todo["id"]]["text"]
    log = guest.log(todo["id"])
    assert ["-- task 1, localhost, changed: copy", "-- task 2, localhost, ok: set_stats"] == [
        line for line in log.splitlines() if line.startswith("--")
    ]
    assert "TASK [copy]" in log
    assert "-- task" not in outcomes[todo["id"]]["deploy_stdout"]


def test_a_playbook_runs_without_ansible_runner(guest: Guest, tmp_path: Path) -> None:
    program = tmp_path / "ansible-playbook"
    found = install.directory("ansible")
    program.write_text(f'#!/bin/sh\nexec {found}/ansible-playbook "$@"\n')
    program.chmod(0o755)
    guest.environment["HEAT_ANSIBLE_CMD"] = str(program)

    outcome = guest.hook("ansible", deployment(play(OUTPUT), inputs={"who": "w"}, outputs=("text",)))

    assert (0, "hello w") == (outcome["deploy_status_code"], outcome["text"])
