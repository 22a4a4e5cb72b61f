"""What `docs/compatibility.md` says of the old tools and no recorded case shows, through the doors that people use."""

import json
import os
import stat
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from agent import serve
from tests import hours
from tests.conftest import install
from tests.fakes import Peer, Reply
from tests.waiting import LONGEST_S

BY_BOTH = ["/signal", "/v3/auth/tokens", "/heat/stacks/s/1/resources/web/signal"]


def run(
    command: Sequence[str | Path], environment: Mapping[str, str], said: str = "", **variables: object
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=said,
        env={**environment, **{name: str(value) for name, value in variables.items()}},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


@pytest.fixture
def doors(tmp_path: Path) -> Path:
    """A directory with the old names in it."""
    directory = tmp_path / "doors"
    directory.mkdir()
    install(directory, "heat-config", "heat-config-notify")
    return directory


@pytest.fixture
def endpoint(tmp_path: Path) -> serve.Endpoint:
    directory = tmp_path / "served"
    directory.mkdir()
    (directory / serve.FILE).write_text(json.dumps({"deployments": [{"id": "a", "group": "script"}]}))
    return serve.Endpoint(directory)


def deployment(config: str = "#!/bin/sh\n", **keys: Any) -> dict[str, Any]:
    return {"id": "a", "name": "a", "group": "script", "config": config, "inputs": [], **keys}


def hook(agent_command: list[str], environment: Mapping[str, str], root: Path, **keys: Any) -> dict[str, Any]:
    finished = run([*agent_command, "--root", root, "hook", "script"], environment, json.dumps(deployment(**keys)))
    reply: dict[str, Any] = json.loads(finished.stdout)
    return reply


def once(agent_command: list[str], environment: Mapping[str, str], root: Path, *deployments: Any) -> int:
    local = root / "var/lib/os-collect-config/local-data"
    local.mkdir(parents=True, exist_ok=True)
    (local / "a.json").write_text(json.dumps({"deployments": deployments}))
    return run([*agent_command, "--once", "--root", root], environment).returncode


def outcome(root: Path) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((root / "var/lib/heat-config/deployed/a.notify.json").read_text())
    return body


def test_state_that_lived_in_var_run_is_taken_along(doors: Path, environment: dict[str, str], tmp_path: Path) -> None:
    old, new, rendered = tmp_path / "old", tmp_path / "new", tmp_path / "heat-config"
    old.mkdir()
    (old / "a.json").touch()
    rendered.write_text(json.dumps([deployment(f"#!/bin/sh\ntouch {tmp_path}/ran\n")]))

    finished = run(
        [doors / "heat-config"],
        environment,
        HEAT_SHELL_CONFIG=rendered,
        HEAT_CONFIG_DEPLOYED=new,
        HEAT_CONFIG_DEPLOYED_OLD=old,
    )

    assert (0, False, True) == (finished.returncode, old.exists(), (new / "a.json").exists()), finished.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("reply", ["", "no JSON", "[]"])
def test_a_reply_that_is_no_json_object_is_signalled_as_a_failure(
    doors: Path, environment: dict[str, str], tmp_path: Path, endpoint: serve.Endpoint, reply: str
) -> None:
    with endpoint:
        config = tmp_path / "a.json"
        config.write_text(json.dumps(endpoint.metadata()["deployments"][0]))  # type: ignore[index,call-overload]
        finished = run([doors / "heat-config-notify", config], environment, reply)

    assert 0 == finished.returncode, finished.stderr
    assert [("FAILED", 65)] == [(v.status, v.body["deploy_status_code"]) for v in endpoint.signals]


@pytest.mark.parametrize(
    ("user", "asked"),
    [
        ({"deploy_user_id": "u", "deploy_password": "p"}, BY_BOTH),
        ({}, BY_BOTH[:1]),
    ],
    ids=["both", "no password"],
)
def test_whoever_can_be_told_by_url_and_by_credentials_is_told_by_both(
    doors: Path, environment: dict[str, str], tmp_path: Path, peer: Peer, user: dict[str, str], asked: list[str]
) -> None:
    heat = {"type": "orchestration", "endpoints": [{"interface": "public", "url": f"{peer.url}/heat"}]}
    token = {"token": {"expires_at": "2099-01-01T00:00:00.000000Z", "catalog": [heat]}}
    peer.answers |= {"/signal": Reply(), asked[-1]: Reply()}
    peer.answers["/v3/auth/tokens"] = Reply(201, json.dumps(token).encode(), {"X-Subject-Token": "t"})
    told = {
        "deploy_signal_id": f"{peer.url}/signal",
        "deploy_auth_url": f"{peer.url}/v3",
        "deploy_stack_id": "s/1",
        "deploy_resource_name": "web",
        **user,
    }
    config = tmp_path / "a.json"
    config.write_text(json.dumps(deployment(inputs=[{"name": name, "value": value} for name, value in told.items()])))

    finished = run([doors / "heat-config-notify", config], environment, '{"deploy_status_code": 0}')

    assert (0, "") == (finished.returncode, finished.stderr)
    assert asked == [request.path for request in peer.requests]


def test_a_shorter_script_leaves_nothing_of_a_longer_one(
    agent_command: list[str], environment: dict[str, str], root: Path
) -> None:
    hook(agent_command, environment, root, config="#!/bin/sh\necho long\necho longer\necho longest\n")

    reply = hook(agent_command, environment, root, config="#!/bin/sh\necho short\n")

    assert "short\n" == reply["deploy_stdout"]


def test_numbers_booleans_null_maps_and_lists_are_json(
    agent_command: list[str], environment: dict[str, str], root: Path
) -> None:
    values = [("number", 1.5), ("flag", True), ("nothing", None), ("table", {"a": [1]}), ("list", ["x"])]
    inputs = [{"name": name, "type": "Json", "value": value} for name, value in values]
    script = '#!/bin/sh\necho "$number|$flag|$nothing|$table|$list"\n'

    reply = hook(agent_command, environment, root, config=script, inputs=inputs)

    assert '1.5|true||{"a": [1]}|["x"]\n' == reply["deploy_stdout"]


def test_a_status_above_128_is_no_signal(agent_command: list[str], environment: dict[str, str], root: Path) -> None:
    reply = hook(agent_command, environment, root, config="#!/bin/sh\nexit 255\n")

    assert (255, "") == (reply["deploy_status_code"], reply["deploy_stderr"])


@pytest.mark.parametrize("odd", ["mkfifo $heat_outputs_path.o", "ln -s /dev/zero $heat_outputs_path.o"])
def test_an_output_that_is_no_file_is_left_out(
    agent_command: list[str], environment: dict[str, str], root: Path, odd: str
) -> None:
    """A pipe would never end, and so would the hook."""
    reply = hook(agent_command, environment, root, config=f"#!/bin/sh\n{odd}\n", outputs=[{"name": "o"}])

    assert {"deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0} == reply


@pytest.mark.parametrize("name", ["o", "o" * 300])
def test_an_output_that_no_file_can_be_does_not_fail_the_next_run(
    agent_command: list[str], environment: dict[str, str], root: Path, name: str
) -> None:
    script = "#!/bin/sh\nmkdir $heat_outputs_path.o\nexit 0\n"
    hook(agent_command, environment, root, config=script, outputs=[{"name": name}])

    reply = hook(agent_command, environment, root, config="#!/bin/sh\necho again\n", outputs=[{"name": name}])

    assert {"deploy_stdout": "again\n", "deploy_stderr": "", "deploy_status_code": 0} == reply


@pytest.mark.parametrize(
    ("reply", "told"), [('{"deploy_status_code": null}', 3), ("{}", 3), ('{"deploy_status_code": 0}', 0)]
)
def test_the_status_of_a_program_counts_where_its_reply_has_none(
    agent_command: list[str], environment: dict[str, str], root: Path, reply: str, told: int
) -> None:
    program = root / "var/lib/heat-config/hooks/other"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/bin/sh\necho '{reply}'\nexit 3\n")
    program.chmod(0o755)

    once(agent_command, environment, root, deployment(group="other"))

    assert told == outcome(root)["deploy_status_code"]


def test_a_mark_is_the_deployment_as_a_program_was_given_it(
    doors: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    rendered, deployed = tmp_path / "heat-config", tmp_path / "deployed"
    component = {"configs": [{"actions": ["CREATE"], "tool": "script", "config": "#!/bin/sh\n"}]}
    inputs = [
        {"name": "deploy_action", "type": "String", "value": "CREATE"},
        {"name": "port", "type": "String", "value": 80},
    ]
    rendered.write_text(json.dumps([{**deployment(inputs=inputs), "group": "component", "config": component}]))

    run([doors / "heat-config"], environment, HEAT_SHELL_CONFIG=rendered, HEAT_CONFIG_DEPLOYED=deployed)

    mark = json.loads((deployed / "a.json").read_text())
    assert ("script", "#!/bin/sh\n", "80") == (mark["group"], mark["config"], mark["inputs"][1]["value"])
    assert [0o700, 0o600] == [stat.S_IMODE(path.stat().st_mode) for path in (deployed, deployed / "a.json")]


def test_a_hook_beyond_its_time_is_ended_with_all_its_processes(
    agent_command: list[str], environment: dict[str, str], root: Path, tmp_path: Path
) -> None:
    stray = f"while :; do date > {tmp_path}/alive; touch {tmp_path}/hours/one; sleep 0.1; done"
    script = f"#!/bin/sh\nsetsid sh -c '{stray}' &\nsleep 600\n"
    passing = {**environment, **hours.variables(tmp_path / "hours")}

    status = once(agent_command, passing, root, deployment(script, options={"timeout": 60}))
    left_at = (tmp_path / "alive").stat().st_mtime_ns
    time.sleep(0.5)

    assert (1, 124) == (status, outcome(root)["deploy_status_code"])
    assert "timed out after 60 s" in outcome(root)["deploy_stderr"]
    assert left_at == (tmp_path / "alive").stat().st_mtime_ns


def test_a_program_in_a_hook_directory_wins_over_the_built_in_hook(
    agent_command: list[str], environment: dict[str, str], root: Path
) -> None:
    program = root / "var/lib/heat-config/hooks/script"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho mine\n")
    program.chmod(0o755)

    status = once(agent_command, environment, root, deployment("#!/bin/sh\necho built in\n"))

    assert (0, "mine\n") == (status, outcome(root)["deploy_stdout"])


def test_a_hook_that_is_not_executable_fails_and_says_so(
    agent_command: list[str], environment: dict[str, str], root: Path
) -> None:
    program = root / "var/lib/heat-config/hooks/other"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n")
    program.chmod(0o644)

    status = once(agent_command, environment, root, deployment(group="other"))

    assert (1, 127) == (status, outcome(root)["deploy_status_code"])
    assert f"chmod +x {program}" in outcome(root)["deploy_stderr"]


@pytest.mark.parametrize("fault", ["file for everybody", "directory for everybody", "no JSON"])
def test_a_local_source_that_cannot_be_trusted_is_refused_whole(
    agent_command: list[str], environment: dict[str, str], root: Path, fault: str
) -> None:
    local = root / "var/lib/os-collect-config/local-data"
    local.mkdir(parents=True)
    if fault == "no JSON":
        (local / "b.json").write_text("{")
    elif fault == "directory for everybody":
        local.chmod(0o777)
    else:
        (local / "b.json").write_text("{}")
        (local / "b.json").chmod(0o666)

    status = once(agent_command, environment, root, deployment())

    assert 2 == status
    assert [] == os.listdir(root / "var/lib/heat-config/deployed")
