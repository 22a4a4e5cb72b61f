"""The hook `puppet` with the distribution's puppet."""

import json

import pytest

from tests.conftest import require
from tests.tools import install
from tests.tools.guest import AWKWARD, Guest, deployment

pytestmark = pytest.mark.slow

OUTPUT = """
file { "${facts['heat_outputs_path']}.text": content => "hello ${facts['who']}" }
"""


@pytest.fixture
def guest(guest: Guest) -> Guest:
    require(install.puppet(), "needs puppet: python -m tests.tools install")
    return guest


def test_a_manifest_that_changes_something_succeeds_with_its_outputs(guest: Guest) -> None:
    outcome = guest.hook("puppet", deployment(OUTPUT, inputs={"who": "w"}, outputs=("text",)))

    assert (0, "hello w") == (outcome["deploy_status_code"], outcome["text"])
    logs = guest.root / "var/run/heat-config/deployed"
    stdout = logs / f"2026-01-02-03-04-05Z-{deployment('')['id']}-stdout.log"
    assert outcome["deploy_stdout"] == stdout.read_text()
    assert 0o600 == stdout.stat().st_mode & 0o777


def test_a_manifest_that_does_not_compile_fails(guest: Guest) -> None:
    outcome = guest.hook("puppet", deployment("fail('no luck')\n"))

    assert 1 == outcome["deploy_status_code"]
    assert "no luck" in outcome["deploy_stderr"]


def test_a_failing_resource_fails(guest: Guest) -> None:
    outcome = guest.hook("puppet", deployment("exec { '/bin/false': }\n"))

    assert outcome["deploy_status_code"] in {4, 6}


def test_a_hanging_manifest_is_ended_with_all_it_started(guest: Guest) -> None:
    outcome = guest.overdue("puppet", deployment(hanging(guest)))

    assert 124 == outcome["deploy_status_code"]


def test_a_cancelled_manifest_is_ended_with_all_it_started(guest: Guest) -> None:
    assert 130 == guest.cancel("puppet", deployment(hanging(guest)))


def test_inputs_of_every_type_arrive_as_facts(guest: Guest) -> None:
    names = ("text", "number", "flag", "listed", "mapped")
    lines = "\\n".join(f"${{facts['{name}']}}" for name in names)
    manifest = f'file {{ "${{facts[\'heat_outputs_path\']}}.seen": content => "{lines}" }}\n'

    outcome = guest.hook("puppet", deployment(manifest, inputs=AWKWARD, outputs=("seen",)))

    assert 0 == outcome["deploy_status_code"], outcome["deploy_stderr"]
    text, *others = outcome["seen"].split("\n")
    assert AWKWARD["text"] == text
    assert [AWKWARD[name] for name in names[1:]] == [json.loads(other) for other in others]


def test_inputs_become_hiera_data_with_their_types(guest: Guest) -> None:
    inputs = {**AWKWARD, "deploy_password": "secret"}

    outcome = guest.hook("puppet", deployment("notice('x')\n", inputs=inputs, options={"enable_hiera": True}))

    assert 0 == outcome["deploy_status_code"]
    data = guest.root / "etc/puppet/hieradata/heat_config_guest.json"
    assert AWKWARD == json.loads(data.read_text())
    assert 0o600 == data.stat().st_mode & 0o777


def test_a_guest_without_puppet_is_told_what_to_install(toolless: Guest) -> None:
    outcome = toolless.hook("puppet", deployment(OUTPUT))

    assert 127 == outcome["deploy_status_code"]
    assert "install puppet-agent" in outcome["deploy_stderr"]


def test_the_agent_runs_a_manifest_from_a_document(guest: Guest) -> None:
    todo = deployment(OUTPUT, group="puppet", inputs={"who": "w"}, outputs=("text",))

    status, outcomes = guest.once(todo)

    assert (0, "hello w") == (status, outcomes[todo["id"]]["text"])
    assert "Applied catalog" in guest.log(todo["id"])


def hanging(guest: Guest) -> str:
    return f"exec {{ 'hang': command => '{guest.hanging}', provider => shell, timeout => 0 }}\n"
