"""The option `run_as` with every built-in hook: its tool is another user, or the hook says why it cannot be."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.hooks import HOOKS
from tests.conftest import CHECKOUT, require
from tests.tools import install, neighbour
from tests.tools.guest import Guest, deployment
from tests.tools.neighbour import FURTHER, GID, NAME, UID
from tests.tools.test_chef import CHEF_CLIENT

pytestmark = pytest.mark.slow

WHO = "id -u; id -G"
REFUSING = {
    "apply-config": "templates from metadata that root alone may read",
    "os-apply-config": "templates from metadata that root alone may read",
    "Heat::Ungrouped": "templates from metadata that root alone may read",
    "files": "entries name their owner",
    "cfn-init": "installs packages, makes users",
    "hiera": "for the whole guest",
    "docker-cmd": "who asks the engine is not who runs in its containers",
    "docker-compose": "who asks the engine is not who runs in its containers",
    "kubelet": "who asks the engine is not who runs in its containers",
}


@pytest.fixture
def guest(environment: dict[str, str]) -> Iterator[Guest]:
    """A guest whose root others may enter, with a user of its own; nothing of its processes may be left."""
    require(os.geteuid() == 0 and neighbour.possible(), "needs root, and mount namespaces")
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    root = directory / "root"
    root.mkdir()
    found = [path for path in map(install.directory, install.PROGRAMS) if path]
    needed = {Path(sys.base_prefix), *(path.parent for path in found), Path(sys.prefix), CHECKOUT}
    guest = Guest(root, environment, before=tuple(neighbour.inside(directory, sorted(needed))))
    yield guest
    try:
        guest.leave()
    finally:
        shutil.rmtree(directory)


def for_neighbour(config: Any, **more: Any) -> dict[str, Any]:
    return deployment(config, options={"run_as": NAME, **more.pop("options", {})}, **more)


def with_tool(guest: Guest, name: str) -> None:
    found = install.directory(name)
    require(found, f"needs {name}: python -m tests.tools install")
    guest.environment["PATH"] = f"{found}{os.pathsep}{guest.environment['PATH']}"


def with_puppet(guest: Guest) -> None:
    require(install.puppet(), "needs puppet: python -m tests.tools install")


def with_chef(guest: Guest) -> None:
    programs = guest.root / "bin"
    programs.mkdir()
    for name, text in (("chef-client", CHEF_CLIENT), ("hostname", "#!/bin/sh\necho guest.example.test\n")):
        (programs / name).write_text(text.format(python=sys.executable))
        (programs / name).chmod(0o755)
    guest.environment["PATH"] = f"{programs}:{guest.environment['PATH']}"


def told(guest: Guest) -> str:
    return f"{guest.root.parent}/home/told"


PLAY = [{"hosts": "localhost", "connection": "local", "gather_facts": False}]
TOOLS: dict[str, Any] = {
    "ansible": lambda command: json.dumps([{**PLAY[0], "tasks": [{"shell": command}]}]),
    "puppet": lambda command: f"exec {{ 'who': command => '{command}', provider => shell }}\n",
    "salt": lambda command: {"who": {"cmd.run": [{"name": command}]}},
    "chef": lambda _command: ["who"],
    "script": lambda command: f"#!/bin/sh\n{command}\n",
}


@pytest.fixture(params=TOOLS)
def group(request: pytest.FixtureRequest, guest: Guest) -> str:
    """A group whose tool can be another user, installed on the guest."""
    group: str = request.param
    if group in install.PROGRAMS:
        with_tool(guest, group)
    elif group != "script":
        {"puppet": with_puppet, "chef": with_chef}[group](guest)
    return group


def todo(group: str, command: str, **more: Any) -> dict[str, Any]:
    inputs = {"who": command, "secret": "hush", **more.pop("inputs", {})}
    return for_neighbour(TOOLS[group](command), inputs=inputs, group=group, **more)


def test_its_tool_is_that_user_and_finds_its_outputs_and_inputs(guest: Guest, group: str) -> None:
    command = f"({WHO}) > {told(guest)}; printf made > $heat_outputs_path.text"

    outcome = guest.hook(group, todo(group, command, outputs=("text",)))

    assert 0 == outcome["deploy_status_code"], outcome
    assert "made" == outcome["text"]
    assert [str(UID), f"{GID} {FURTHER}"] == Path(told(guest)).read_text().splitlines()


def test_its_files_are_for_that_user_alone(guest: Guest, group: str) -> None:
    guest.hook(group, todo(group, "true"))

    working = guest.root / f"var/lib/heat-config/heat-config-{group}.{NAME}"
    known = working.stat()
    assert (UID, 0o700) == (known.st_uid, known.st_mode & 0o777)
    assert {UID} == {path.lstat().st_uid for path in working.rglob("*")}
    assert not (working.parent / f"heat-config-{group}").exists()


def test_a_hanging_tool_of_another_user_is_ended_with_all_it_started(guest: Guest) -> None:
    with_tool(guest, "ansible")
    guest.root.chmod(0o777)

    outcome = guest.overdue("ansible", todo("ansible", guest.hanging))

    assert 124 == outcome["deploy_status_code"], outcome
    assert guest.began.exists()


def test_set_stats_and_progress_work_for_another_user(guest: Guest) -> None:
    with_tool(guest, "ansible")
    play = json.dumps([{**PLAY[0], "tasks": [{"set_stats": {"data": {"ports": [80]}}}]}])

    _, outcomes = guest.once(for_neighbour(play, group="ansible", outputs=("ports",)))

    [outcome] = outcomes.values()
    assert (0, [80]) == (outcome["deploy_status_code"], outcome["ports"])
    assert "-- task 1, localhost, ok: set_stats" in guest.log(deployment("")["id"])


def test_hiera_data_of_puppet_is_readable_by_the_user_alone(guest: Guest) -> None:
    with_puppet(guest)

    outcome = guest.hook("puppet", for_neighbour("notice('x')\n", options={"enable_hiera": True, "enable_debug": True}))

    assert 0 == outcome["deploy_status_code"], outcome
    known = (guest.root / "etc/puppet/hieradata/heat_config_guest.json").stat()
    assert (UID, 0o600) == (known.st_uid, known.st_mode & 0o777)


def test_json_files_are_written_with_the_rights_of_the_user(guest: Guest) -> None:
    own, closed = guest.root / "own", guest.root / "closed"
    own.mkdir()
    os.chown(own, UID, GID)
    closed.mkdir(mode=0o755)

    written = guest.hook("json-file", for_neighbour({"/own/deep/a": 1}))
    refused = guest.hook("json-file", for_neighbour({"/closed/a": 1}))

    known = (own / "deep/a").stat()
    assert (0, UID, 0o600) == (written["deploy_status_code"], known.st_uid, known.st_mode & 0o777)
    assert (1, []) == (refused["deploy_status_code"], list(closed.iterdir()))
    assert "could not write" in refused["deploy_stderr"]


def test_a_link_in_the_user_s_directory_leads_to_nothing_of_root_s(guest: Guest) -> None:
    working = guest.root / f"var/lib/heat-config/heat-config-chef.{NAME}"
    working.mkdir(parents=True)
    os.chown(working, UID, GID)
    target = guest.root / "target"
    target.mkdir(mode=0o755)
    (working / "node").symlink_to(target)
    with_chef(guest)

    outcome = guest.hook("chef", todo("chef", "true"))

    assert 126 == outcome["deploy_status_code"], outcome
    assert [] == list(target.iterdir())


@pytest.mark.parametrize("group", REFUSING)
def test_a_hook_of_root_s_says_why_it_is_nobody_else_s(guest: Guest, group: str) -> None:
    outcome = guest.hook(group, for_neighbour({}))

    assert 65 == outcome["deploy_status_code"]
    assert "does not know run_as, remove it: " in outcome["deploy_stderr"]
    assert REFUSING[group] in outcome["deploy_stderr"]


def test_every_group_has_its_answer() -> None:
    assert set(HOOKS) == {*TOOLS, *REFUSING, "json-file"}


def test_a_component_goes_by_its_tool(guest: Guest) -> None:
    config = {"configs": [{"actions": ["CREATE"], "tool": tool, "config": f"#!/bin/sh\n{WHO}"} for tool in ("script",)]}

    _, outcomes = guest.once(for_neighbour(config, group="component", inputs={"deploy_action": "CREATE"}))

    assert [str(UID)] == [outcome["deploy_stdout"].split()[0] for outcome in outcomes.values()]


def test_a_tool_that_the_user_cannot_reach_is_named(guest: Guest) -> None:
    hidden = guest.root / "hidden"
    hidden.mkdir(mode=0o700)
    tool = hidden / "ansible-playbook"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    guest.environment["HEAT_ANSIBLE_CMD"] = str(tool)

    outcome = guest.hook("ansible", for_neighbour("- hosts: all\n"))

    assert 126 == outcome["deploy_status_code"], outcome
    assert f"let user '{NAME}' pass to {tool}" in outcome["deploy_stderr"]
