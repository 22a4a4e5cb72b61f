"""`agent hook docker-cmd` and its sync with real containers."""

import json
from pathlib import Path

import pytest

from tests import hours
from tests.containers.conftest import Guest, deployment, on
from tests.containers.engine import IMAGE, Engine, processes
from tests.waiting import LONGEST_S, until

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
SERVICE = {"image": IMAGE, "command": FOREVER}
LIMITED = {"timeout": 300}


def test_containers_run_in_order_and_one_is_entered(guest: Guest, engine: Engine) -> None:
    config = {
        "look": {"action": "exec", "start_order": 2, "command": ["web", "sh", "-c", "echo $COLOUR; cat /tmp/note"]},
        "note": {
            "image": IMAGE,
            "start_order": 1,
            "detach": False,
            "command": ["sh", "-c", "echo written; echo told >&2"],
        },
        "web": {
            **SERVICE,
            "environment": {"COLOUR": "blue"},
            "command": ["sh", "-c", "echo hello > /tmp/note; trap 'exit 0' TERM; while :; do sleep 0.1; done"],
        },
    }

    reply = on(guest, engine).hook(deployment("docker-cmd", config))

    assert 0 == reply["deploy_status_code"], reply
    identity = engine.call("inspect", "--format", "{{.Id}}", "web").strip()
    assert [identity, "written", "blue", "hello"] == reply["deploy_stdout"].split()
    assert "told" in reply["deploy_stderr"]
    assert {
        "deploy_stack_id": "stack/1",
        "deploy_resource_name": "web",
        "config_id": "c0ffee01",
        "container_name": "web",
        "managed_by": "docker-cmd",
    } == engine.labels("web")
    assert ["web"] == engine.running()


def test_the_status_of_a_container_is_told(guest: Guest, engine: Engine) -> None:
    config = {"job": {"image": IMAGE, "detach": False, "command": ["sh", "-c", "echo trying; exit 9"]}}

    reply = on(guest, engine).hook(deployment("docker-cmd", config))

    assert (9, "trying\n") == (reply["deploy_status_code"], reply["deploy_stdout"])


def test_a_listed_exit_code_is_no_failure(guest: Guest, engine: Engine) -> None:
    config = {"job": {"image": IMAGE, "detach": False, "exit_codes": [0, 9], "command": ["sh", "-c", "exit 9"]}}

    assert 0 == on(guest, engine).hook(deployment("docker-cmd", config))["deploy_status_code"]


def test_an_image_that_is_not_there_fails_with_the_words_of_the_engine(guest: Guest, engine: Engine) -> None:
    config = {"job": {"image": "localhost/nothing:1"}}

    reply = on(guest, engine).hook(deployment("docker-cmd", config))

    assert 125 == reply["deploy_status_code"]
    assert "localhost/nothing:1" in reply["deploy_stderr"]


def test_a_timeout_ends_what_the_deployment_started(guest: Guest, engine: Engine) -> None:
    seen = guest.root / "hours"
    hangs = ["sh", "-c", f"echo > /seen/one; {FOREVER[-1]}"]
    volumes = {"volumes": [f"{seen}:/seen"], "command": hangs, "detach": False, "start_order": 1}
    late = on(guest, engine).with_variables(**hours.variables(seen))

    reply = late.hook(deployment("docker-cmd", {"first": SERVICE, "hangs": {**SERVICE, **volumes}}, options=LIMITED))

    assert 124 == reply["deploy_status_code"]
    assert "container 'hangs' of docker-cmd for 'project' timed out after 300 s" in reply["deploy_stderr"]
    assert "option timeout" in reply["deploy_stderr"]
    assert [] == engine.names()
    until(lambda: processes(engine.directory) == [], "the containers' keepers to be gone")


def test_a_cancelled_deployment_leaves_no_container(guest: Guest, engine: Engine) -> None:
    config = {"hangs": {**SERVICE, "detach": False}}

    hook = on(guest, engine).begin(deployment("docker-cmd", config))
    until(lambda: engine.running() == ["hangs"], "the container to run")
    hook.terminate()
    hook.wait(LONGEST_S)

    assert [] == engine.names()
    until(lambda: processes(engine.directory) == [], "the containers' keepers to be gone")


def test_a_taken_name_is_given_back_once_its_holder_left(guest: Guest, engine: Engine) -> None:
    old, new = (deployment("docker-cmd", {"web": SERVICE}, identity) for identity in ("c0ffee01", "c0ffee02"))
    here = on(guest, engine)
    here.hook(old)

    assert 0 == here.hook(new)["deploy_status_code"]
    beside = [name for name in engine.running() if name != "web"]
    said = here.sync("docker-cmd", new)

    assert [True] == [name.startswith("web-") and len(name) == len("web-12345678") for name in beside]
    assert "" == said
    assert ["web"] == engine.running()
    assert "c0ffee02" == engine.labels("web")["config_id"]


def test_sync_leaves_alone_what_is_listed_and_what_is_not_ours(guest: Guest, engine: Engine) -> None:
    engine.call("run", "--detach", "--name", "foreign", IMAGE, *FOREVER)
    here = on(guest, engine)
    listed = deployment("docker-cmd", {"web": SERVICE})
    here.hook(listed)

    here.sync("docker-cmd", listed)
    kept = engine.running()
    here.sync("docker-cmd")

    assert ["foreign", "web"] == kept
    assert ["foreign"] == engine.running()


@pytest.mark.parametrize("text", ["", "not json", '{"a": 1}', "[1]"])
def test_sync_removes_nothing_while_nobody_can_say_what_is_listed(guest: Guest, engine: Engine, text: str) -> None:
    here = on(guest, engine)
    listed = deployment("docker-cmd", {"web": SERVICE})
    here.hook(listed)
    (guest.root / "unreadable").write_text(text)

    here.with_variables(HEAT_SHELL_CONFIG=str(guest.root / "unreadable")).sync("docker-cmd")

    assert ["web"] == engine.running()


def test_delete_answers_at_once(guest: Guest, engine: Engine) -> None:
    gone = deployment("docker-cmd", {"web": SERVICE}, inputs={"deploy_action": "DELETE"})

    assert 0 == on(guest, engine).hook(gone)["deploy_status_code"]
    assert [] == engine.names()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"a": {"image": IMAGE}, "b": {}}, "its container 'b' has no image"),
        ({"a": "x"}, "its container 'a' is no map"),
        ({"a": {"action": "stop"}}, "has the action 'stop'"),
        ({"a": {"action": "exec"}}, "has no command"),
        ({"a": {"image": IMAGE, "start_order": "first"}}, "start_order"),
        ([1], "its config is no map"),
        ("a: [", "neither JSON nor YAML"),
    ],
)
def test_a_config_that_cannot_be_is_refused_before_anything_runs(
    guest: Guest, engine: Engine, config: object, says: str
) -> None:
    reply = on(guest, engine).hook(deployment("docker-cmd", config))

    assert 65 == reply["deploy_status_code"]
    assert says in reply["deploy_stderr"]
    assert [] == engine.names()


def test_awkward_values_arrive_as_they_are(guest: Guest, engine: Engine) -> None:
    config = {
        "job": {
            "image": IMAGE,
            "detach": False,
            "restart": False,
            "user": 0,
            "environment": ["EMPTY=", "TEXT=a b\"c'd", ""],
            "command": ["sh", "-c", 'printf %s\\\\n "$TEXT" "$1" "$2"', "sh", 3, "ümläut *"],
        }
    }

    reply = on(guest, engine).hook(deployment("docker-cmd", json.dumps(config)))

    assert (0, "a b\"c'd\n3\nümläut *\n") == (reply["deploy_status_code"], reply["deploy_stdout"]), reply


def test_limits_are_those_of_each_container(guest: Guest, engine: Engine) -> None:
    reply = on(guest, engine).hook(deployment("docker-cmd", {"web": SERVICE}, options={"memory": "64M", "tasks": 50}))

    assert 0 == reply["deploy_status_code"], reply
    limits = engine.call("inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", "web")
    assert f"{64 << 20} 50" == limits.strip()


def test_a_missing_engine_is_named(guest: Guest, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    nowhere = guest.with_variables(PATH=str(empty)).hook(deployment("docker-cmd", {"web": SERVICE}))
    misnamed = guest.with_variables(HEAT_DOCKER_CMD="no-such").hook(deployment("docker-cmd", {"web": SERVICE}))

    assert (127, 127) == (nowhere["deploy_status_code"], misnamed["deploy_status_code"])
    assert "neither docker nor podman is on PATH; install one of them" in nowhere["deploy_stderr"]
    assert "HEAT_DOCKER_CMD names 'no-such'" in misnamed["deploy_stderr"]
