"""The hook `salt` with salt as a library."""

import json
import os
from typing import Any

import pytest

from tests.conftest import require
from tests.tools import install
from tests.tools.guest import AWKWARD, Guest, deployment

pytestmark = pytest.mark.slow


@pytest.fixture
def guest(guest: Guest) -> Guest:
    found = install.directory("salt")
    require(found, "needs salt: python -m tests.tools install")
    guest.environment["PATH"] = f"{found}{os.pathsep}{guest.environment['PATH']}"
    own = guest.root / "srv"
    minion = guest.root / "etc/salt/minion"
    minion.parent.mkdir(parents=True)
    names = ("cachedir", "pki_dir", "sock_dir", "extension_modules")
    minion.write_text(json.dumps({"id": "guest", **{name: str(own / name) for name in names}}))
    return guest


def states(**known: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """A config that is a map: name -> (function, its arguments)."""
    return {
        name: {function: [{key: value} for key, value in arguments.items()]}
        for name, (function, arguments) in known.items()
    }


def output(name: str, contents: str) -> tuple[str, dict[str, Any]]:
    return ("file.managed", {"name": "{{ pillar['heat_outputs_path'] }}." + name, "contents": contents})


def test_states_set_outputs_and_the_answer_is_on_stdout(guest: Guest) -> None:
    config = states(made=output("text", "hello {{ opts['who'] }}"))

    outcome = guest.hook("salt", deployment(config, inputs={"who": "w"}, outputs=("text", "unset")))

    assert (0, None, "hello w\n") == (outcome["deploy_status_code"], outcome["deploy_stderr"], outcome["text"])
    assert "result: true" in outcome["deploy_stdout"]
    assert "unset" not in outcome


def test_a_failing_state_is_on_stderr(guest: Guest) -> None:
    outcome = guest.hook("salt", deployment(states(broken=("cmd.run", {"name": "/bin/false"}))))

    assert (2, None) == (outcome["deploy_status_code"], outcome["deploy_stdout"])
    assert "result: false" in outcome["deploy_stderr"]


@pytest.mark.parametrize("config", ["m: {{ nope(\n", "m: [\n", "m:\n  no.such: []\n"])
def test_a_config_that_is_no_state_fails(guest: Guest, config: str) -> None:
    outcome = guest.hook("salt", deployment(config))

    assert 0 != outcome["deploy_status_code"]
    assert outcome["deploy_stderr"]


def test_a_hanging_state_is_ended_with_all_it_started(guest: Guest) -> None:
    config = states(hang=("cmd.run", {"name": guest.hanging}))

    outcome = guest.overdue("salt", deployment(config))

    assert 124 == outcome["deploy_status_code"]
    assert "timed out after 60 s" in outcome["deploy_stderr"]


def test_a_cancelled_state_is_ended_with_all_it_started(guest: Guest) -> None:
    assert 130 == guest.cancel("salt", deployment(states(hang=("cmd.run", {"name": guest.hanging}))))


def test_inputs_of_every_type_arrive_typed(guest: Guest) -> None:
    same = "{" + ", ".join(f"'{name}': opts['{name}']" for name in AWKWARD) + "}"
    config = (
        "seen:\n  file.managed:\n    - name: {{ pillar['heat_outputs_path'] }}.seen\n"
        f"    - contents: {{{{ ({same} | json) | json }}}}\n"
    )

    outcome = guest.hook("salt", deployment(config, inputs=AWKWARD, outputs=("seen",)))

    assert 0 == outcome["deploy_status_code"], outcome["deploy_stderr"]
    assert AWKWARD == json.loads(outcome["seen"])


def test_inputs_do_not_make_it_another_run(guest: Guest) -> None:
    inputs = {"fun": "test.ping", "arg": "x", "file_roots": "/none", "local": "", "who": "w"}

    outcome = guest.hook("salt", deployment(states(made=output("text", "{{ opts['who'] }}")), inputs=inputs))

    assert 0 == outcome["deploy_status_code"], outcome["deploy_stderr"]


def test_a_guest_without_salt_is_told_what_to_install(toolless: Guest) -> None:
    outcome = toolless.hook("salt", deployment(states(made=output("text", "x"))))

    assert 127 == outcome["deploy_status_code"]
    assert "install salt-minion" in outcome["deploy_stderr"]


def test_the_agent_runs_states_from_a_document(guest: Guest) -> None:
    todo = deployment(states(made=output("text", "hello")), group="salt", outputs=("text",))

    status, outcomes = guest.once(todo)

    assert (0, "hello\n") == (status, outcomes[todo["id"]]["text"])
    assert "result: true" in guest.log(todo["id"])
