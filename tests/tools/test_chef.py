"""The hook `chef` with a stand-in for chef-client, which no package index at hand has.

The stand-in takes the hook's arguments and nothing else, and logs on stdout as `log_location STDOUT` says. Its recipes
are shell commands in the node's attributes, by their names in the run list; one that fails ends it with status 1.
"""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.tools.guest import AWKWARD, Guest, deployment

CHEF_CLIENT = """#!{python} -I
import json, subprocess, sys
client, node_file = sys.argv[3], sys.argv[5]
assert ["-z", "--config", client, "-j", node_file] == sys.argv[1:]
node = json.load(open(node_file))
print("INFO: Run List is", node["run_list"], flush=True)
for recipe in node["run_list"]:
    if subprocess.run(["/bin/sh", "-c", node.get(recipe, "true")]).returncode:
        print("FATAL: Mixlib::ShellOut::ShellCommandFailed:", recipe, flush=True)
        sys.exit(1)
print("INFO: Chef Infra Client Run complete", flush=True)
"""


@pytest.fixture
def guest(guest: Guest, tmp_path: Path) -> Guest:
    programs = tmp_path / "bin"
    programs.mkdir()
    hostname = "#!/bin/sh\necho guest.example.test\n"
    for name, text in {"chef-client": CHEF_CLIENT.format(python=sys.executable), "hostname": hostname}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    guest.environment["PATH"] = f"{programs}:{guest.environment['PATH']}"
    return guest


def working(guest: Guest) -> Path:
    return guest.root / "var/lib/heat-config/heat-config-chef"


def node(guest: Guest) -> dict[str, Any]:
    [file] = (working(guest) / "node").iterdir()
    assert 0o600 == file.stat().st_mode & 0o777
    return json.loads(file.read_text())


def recipe(command: str, **more: Any) -> dict[str, Any]:
    inputs = {"recipe[a]": command, **more.pop("inputs", {})}
    return deployment('["recipe[a]"]', inputs=inputs, **more)


def test_a_recipe_sets_outputs(guest: Guest) -> None:
    outcome = guest.hook("chef", recipe('printf hello > "$heat_outputs_path.text"', outputs=("text",)))

    assert (0, "hello", "") == (outcome["deploy_status_code"], outcome["text"], outcome["deploy_stderr"])
    assert "Run complete" in outcome["deploy_stdout"]


def test_a_failing_recipe_fails(guest: Guest) -> None:
    outcome = guest.hook("chef", recipe("false"))

    assert 1 == outcome["deploy_status_code"]


@pytest.mark.parametrize("config", ["", "recipe[a]", '{"a": 1}', "[1]", {"a": 1}])
def test_a_config_that_is_no_run_list_is_not_run(guest: Guest, config: Any) -> None:
    outcome = guest.hook("chef", deployment(config))

    assert 65 == outcome["deploy_status_code"]
    assert not working(guest).exists()


def test_a_hanging_recipe_is_ended_with_all_it_started(guest: Guest) -> None:
    outcome = guest.overdue("chef", recipe(guest.hanging))

    assert 124 == outcome["deploy_status_code"]


def test_a_cancelled_recipe_is_ended_with_all_it_started(guest: Guest) -> None:
    assert 130 == guest.cancel("chef", recipe(guest.hanging))


def test_inputs_become_attributes_without_what_is_heat_s(guest: Guest) -> None:
    own = {"environment": "it's", "deploy_password": "secret", "deploy_signal_id": "url", "deploy_action": "CREATE"}

    outcome = guest.hook("chef", recipe("true", inputs={**AWKWARD, **own}))

    assert 0 == outcome["deploy_status_code"]
    assert {**AWKWARD, "recipe[a]": "true", "run_list": ["recipe[a]"]} == node(guest)
    client = working(guest) / "client.rb"
    assert "\nenvironment 'it\\'s'\n" in client.read_text()
    assert 0o600 == client.stat().st_mode & 0o777


def test_a_shorter_second_run_leaves_no_tail_of_the_first(guest: Guest) -> None:
    guest.hook("chef", recipe("true", inputs={"long": "x" * 1000}))

    guest.hook("chef", recipe("true"))

    assert {"recipe[a]": "true", "run_list": ["recipe[a]"]} == node(guest)


def test_a_kitchen_that_holds_the_working_directory_is_refused(guest: Guest) -> None:
    options = {"kitchen": "git://x/k.git", "kitchen_path": "/"}

    outcome = guest.hook("chef", recipe("true", options=options, inputs={"deploy_action": "UPDATE"}))

    assert 65 == outcome["deploy_status_code"]


def test_a_guest_without_chef_is_told_what_to_install(toolless: Guest) -> None:
    outcome = toolless.hook("chef", recipe("true"))

    assert 127 == outcome["deploy_status_code"]
    assert "install chef" in outcome["deploy_stderr"]


def test_the_agent_runs_a_recipe_from_a_document(guest: Guest) -> None:
    todo = recipe('printf hello > "$heat_outputs_path.text"', group="chef", outputs=("text",))

    status, outcomes = guest.once(todo)

    assert (0, "hello") == (status, outcomes[todo["id"]]["text"])
    assert "Run List is" in guest.log(todo["id"])
