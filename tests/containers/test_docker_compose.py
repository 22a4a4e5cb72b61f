"""`agent hook docker-compose` and its sync: docker-compose, or docker's plugin, with real containers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import Guest, deployment, on
from tests.containers.engine import IMAGE, Engine
from tests.process.guest import alive
from tests.waiting import LONGEST_S, until

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
VERSION_1 = {"web": {"image": IMAGE, "net": "host", "command": FOREVER}}
VERSION_3 = {"version": "3", "services": {"web": {"image": IMAGE, "network_mode": "host", "command": FOREVER}}}
PLUGIN = """#!/bin/sh
# docker with its compose plugin, which Debian 12 does not ship: the same program by another name.
[ "$1" = compose ] || exit 64
shift
if [ "$1" = version ]; then echo "Docker Compose version v2"; else exec {compose} "$@"; fi
"""


@pytest.fixture
def here(guest: Guest, docker: Engine) -> Guest:
    return on(guest, docker).with_variables(HEAT_DOCKER_COMPOSE_WORKING=str(guest.root / "compose"))


def project(guest: Guest) -> Path:
    return guest.root / "compose/project"


@pytest.mark.parametrize("config", [VERSION_1, VERSION_3, json.dumps(VERSION_3)], ids=["1", "3", "3 as text"])
def test_services_come_up_and_go_with_their_deployment(here: Guest, docker: Engine, config: Any) -> None:
    listed = deployment("docker-compose", config)

    here.sync("docker-compose", listed)
    reply = here.hook(listed)
    up = docker.running()
    said = here.sync("docker-compose")

    assert 0 == reply["deploy_status_code"], reply
    assert "" == reply["deploy_stdout"]
    assert "project_web_1" in reply["deploy_stderr"]
    assert ["project_web_1"] == up
    assert "" == said
    assert [] == docker.running()
    assert not (project(here) / "docker-compose.yml").exists()


def test_the_hook_alone_brings_its_services_up(here: Guest, docker: Engine) -> None:
    reply = here.hook(deployment("docker-compose", VERSION_3))

    assert 0 == reply["deploy_status_code"], reply
    assert ["project_web_1"] == docker.running()
    assert 0o600 == (project(here) / "docker-compose.yml").stat().st_mode & 0o777


def test_an_update_replaces_the_services(here: Guest, docker: Engine) -> None:
    here.hook(deployment("docker-compose", VERSION_3))
    labelled = {"web": {**VERSION_3["services"]["web"], "labels": {"edition": "second"}}}  # type: ignore[index]

    reply = here.hook(deployment("docker-compose", {"services": labelled, "version": "3"}, id="c0ffee02"))

    assert 0 == reply["deploy_status_code"], reply
    assert ["project_web_1"] == docker.running()
    assert "second" == docker.labels("project_web_1")["edition"]


@pytest.mark.parametrize("env_file", ["own.env", ["./deep/er/own.env"]])
def test_given_env_files_reach_the_service(here: Guest, docker: Engine, env_file: str | list[str]) -> None:
    name = env_file if isinstance(env_file, str) else env_file[0]
    config = {"services": {"web": {**VERSION_3["services"]["web"], "env_file": env_file}}, "version": "3"}  # type: ignore[index]
    given = [{"file_name": name, "content": "COLOUR=blue\n"}, {"file_name": "other", "content": "x"}]

    reply = here.hook(deployment("docker-compose", config, inputs={"env_files": str(given)}))

    assert 0 == reply["deploy_status_code"], reply
    assert "COLOUR=blue" in docker.call("inspect", "--format", "{{.Config.Env}}", "project_web_1")
    assert 0o600 == (project(here) / name).stat().st_mode & 0o777
    assert not (project(here) / "other").exists()


def test_a_failing_service_is_told(here: Guest, docker: Engine) -> None:
    config = {"web": {"image": "localhost/nothing:1", "net": "host"}}

    reply = here.hook(deployment("docker-compose", config))

    assert 0 != reply["deploy_status_code"]
    assert "nothing" in reply["deploy_stderr"]


def test_a_file_that_compose_does_not_take_is_told(here: Guest, docker: Engine) -> None:
    reply = here.hook(deployment("docker-compose", {"version": "3", "services": {"web": {"imagine": IMAGE}}}))

    assert 0 != reply["deploy_status_code"]
    assert "imagine" in reply["deploy_stderr"]


def test_the_plugin_serves_where_docker_compose_is_not(here: Guest, docker: Engine, tmp_path: Path) -> None:
    only = tmp_path / "only"
    only.mkdir()
    (only / "python3").symlink_to("/usr/bin/python3")  # what docker-compose itself is written in
    (only / "docker").write_text(PLUGIN.format(compose=shutil.which("docker-compose")))
    (only / "docker").chmod(0o755)
    hidden = here.with_variables(PATH=str(only))

    reply = hidden.hook(deployment("docker-compose", VERSION_3))

    assert 0 == reply["deploy_status_code"], reply
    assert ["project_web_1"] == docker.running()


def test_a_timeout_ends_compose_and_says_so(here: Guest, docker: Engine, tmp_path: Path) -> None:
    hanging = tmp_path / "compose"
    hanging.write_text("#!/bin/sh\nsleep 600 &\nwait\n")
    hanging.chmod(0o755)

    reply = here.with_variables(HEAT_DOCKER_COMPOSE_CMD=str(hanging)).hook(
        deployment("docker-compose", VERSION_3, options={"timeout": 1})
    )

    assert 124 == reply["deploy_status_code"]
    assert "timed out after 1 s" in reply["deploy_stderr"]


def test_a_cancelled_compose_ends(here: Guest, docker: Engine, tmp_path: Path) -> None:
    hanging, pid = tmp_path / "compose", tmp_path / "pid"
    hanging.write_text(f"#!/bin/sh\necho $$ > {pid}.new\nmv {pid}.new {pid}\nsleep 600\n")
    hanging.chmod(0o755)
    named = here.with_variables(HEAT_DOCKER_COMPOSE_CMD=str(hanging))

    hook = named.begin(deployment("docker-compose", VERSION_3))
    until(pid.exists, "compose to hang")
    hook.terminate()
    hook.wait(LONGEST_S)

    assert not alive(int(pid.read_text()))


@pytest.mark.parametrize("config", ["", None, {}])
def test_without_a_config_there_is_nothing_to_do(here: Guest, docker: Engine, config: Any) -> None:
    assert 0 == here.hook(deployment("docker-compose", config))["deploy_status_code"]
    assert [] == docker.names()


def test_delete_answers_at_once(here: Guest, docker: Engine) -> None:
    gone = deployment("docker-compose", VERSION_3, inputs={"deploy_action": "DELETE"})

    assert 0 == here.hook(gone)["deploy_status_code"]
    assert [] == docker.names()


def test_limits_that_would_not_reach_the_services_are_refused(here: Guest, docker: Engine) -> None:
    reply = here.hook(deployment("docker-compose", VERSION_3, options={"memory": "64M", "cpu_time": 3}))

    assert 65 == reply["deploy_status_code"]
    assert (
        "its group does not know cpu_time, memory, remove it: compose starts the containers" in reply["deploy_stderr"]
    )
    assert [] == docker.names()


@pytest.mark.parametrize("name", ["../elsewhere", "..", "a/b"])
def test_a_name_that_is_no_directory_is_refused(here: Guest, docker: Engine, name: str) -> None:
    bad = deployment("docker-compose", VERSION_3, name=name)

    reply = here.hook(bad)
    said = here.sync("docker-compose", bad)

    assert 65 == reply["deploy_status_code"]
    assert "cannot be a directory" in reply["deploy_stderr"]
    assert "cannot be a directory" in said
    assert [] == list(here.root.rglob("docker-compose.yml"))


@pytest.mark.parametrize("value", ["[{", "[1]", [{"content": "x"}], 7])
def test_env_files_that_cannot_be_read_are_refused(here: Guest, docker: Engine, value: Any) -> None:
    reply = here.hook(deployment("docker-compose", VERSION_3, inputs={"env_files": value}))

    assert 65 == reply["deploy_status_code"]
    assert "env_files" in reply["deploy_stderr"]


def test_a_project_that_cannot_be_killed_is_tried_again(here: Guest, docker: Engine) -> None:
    here.hook(deployment("docker-compose", VERSION_3))

    said = here.with_variables(HEAT_DOCKER_COMPOSE_CMD="/bin/false").sync("docker-compose")
    here.sync("docker-compose")

    assert "project project is not killed" in said
    assert [] == docker.running()


def test_missing_compose_is_named(here: Guest, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    nowhere = here.with_variables(PATH=str(empty)).hook(deployment("docker-compose", VERSION_3))

    assert 127 == nowhere["deploy_status_code"]
    assert "install one of them" in nowhere["deploy_stderr"]
