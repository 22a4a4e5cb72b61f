"""Every hook whose program hangs: the timeout and the cancel end all of it, whatever the group.

The tools themselves, where they are more than a program that is called, are in the files beside this one.
"""

from pathlib import Path
from typing import Any, NamedTuple

import pytest

from agent.hooks import HOOKS
from tests.tools.guest import Guest, deployment

SCRIPT = "#!/bin/sh\n{hanging}\n"


class Case(NamedTuple):
    """A group, its config, and the variable that names its program; "" for the config or a program in a directory."""

    group: str
    config: Any
    variable: str = ""


CASES = [
    Case("script", SCRIPT),
    Case("component", {"configs": [{"actions": ["CREATE"], "tool": "script", "config": SCRIPT}]}),
    Case("own", "anything"),
    Case("chef", ["recipe[a]"], "HEAT_CHEF_CMD"),
    Case("cfn-init", {"config": {}}, "HEAT_CFN_INIT_CMD"),
    Case("apply-config", "", "HEAT_APPLY_CONFIG_CMD"),
    Case("hiera", {"datafiles": {}}, "HEAT_HIERA_ELEMENT_CHECK_CMD"),
    Case("docker-cmd", {"web": {"image": "tiny"}}, "HEAT_DOCKER_CMD"),
    Case("docker-compose", {"web": {"image": "tiny"}}, "HEAT_DOCKER_COMPOSE_CMD"),
    Case("kubelet", {"containers": [{"name": "a", "image": "tiny"}]}, "HEAT_DOCKER_CMD"),
]
REAL = {"ansible", "puppet", "salt"}  # in files of their own
INSIDE = {"files", "json-file", "os-apply-config", "Heat::Ungrouped"}  # no program, or one with a limit of its own


@pytest.fixture(params=CASES, ids=[case.group for case in CASES])
def hanging(request: pytest.FixtureRequest, guest: Guest) -> tuple[str, dict[str, Any]]:
    """A group and a deployment whose program hangs, once the engine of a guest has said what it is asked before."""
    case: Case = request.param
    program = guest.root / ("var/lib/heat-config/hooks/own" if case.group == "own" else "program")
    program.parent.mkdir(parents=True, exist_ok=True)
    program.write_text(
        f'#!/bin/sh\n[ "$1" != inspect ] || exit 1\ncase "$1" in ps | rm) exit 0 ;; esac\n{guest.hanging}\n'
    )
    program.chmod(0o755)
    named(guest)
    if case.variable:
        guest.environment[case.variable] = str(program)
    config = filled(case.config, guest.hanging)
    return case.group, deployment(config, inputs={"deploy_action": "CREATE"})


def named(guest: Guest) -> None:
    """Give the guest a host name, which a sandbox may lack."""
    programs = guest.root / "bin"
    programs.mkdir()
    (programs / "hostname").write_text("#!/bin/sh\necho guest.example.test\n")
    (programs / "hostname").chmod(0o755)
    guest.environment["PATH"] = f"{programs}:{guest.environment['PATH']}"


def filled(config: Any, hanging: str) -> Any:
    if isinstance(config, str):
        return config.replace("{hanging}", hanging)
    if isinstance(config, list):
        return [filled(one, hanging) for one in config]
    return {name: filled(one, hanging) for name, one in config.items()} if isinstance(config, dict) else config


def test_a_timeout_ends_it_with_all_it_started(guest: Guest, hanging: tuple[str, dict[str, Any]]) -> None:
    group, todo = hanging

    outcome = guest.overdue(group, todo)

    assert guest.began.exists()
    said = outcome["deploy_stderr"]
    assert (124 if group != "hiera" else 1) == outcome["deploy_status_code"], said
    assert "after 60 s" in said


def test_a_cancel_ends_it_with_all_it_started(guest: Guest, hanging: tuple[str, dict[str, Any]]) -> None:
    group, todo = hanging

    assert 130 == guest.cancel(group, todo)


def test_no_group_is_forgotten() -> None:
    assert {*HOOKS, "component", "own"} == {*(case.group for case in CASES), *REAL, *INSIDE}


def test_a_service_that_a_hook_leaves_behind_stays(guest: Guest, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    script = f"#!/bin/sh\nsleep 300 &\necho $! > {pid}\n"

    outcome = guest.hook("script", deployment(script))

    assert 0 == outcome["deploy_status_code"]
    assert ["sleep"] == [
        line.split()[1].split("\0")[0] for line in guest.alive() if line.split()[0] == pid.read_text().strip()
    ]
    guest.clean()
