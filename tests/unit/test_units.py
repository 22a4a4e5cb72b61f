"""The unit of a deployment: what systemd is told of it, and whether its limits are kept."""

from pathlib import Path

import pytest

from agent import parse
from agent.model import Json
from agent.systemd import units
from tests.unit import values

BOTH = "9:name=systemd:/x.service\n5:memory:/x.service\n3:pids:/x.service\n2:cpu,cpuacct:/x.service\n0::/x.service\n"


def described(**options: Json) -> dict[str, object]:
    deployment = parse.deployment(values.raw("d1", values.heat_input("deploy_stack_id", "s/1"), options=options))
    properties = units.properties(deployment, ["/usr/bin/python3", "-c", "x"], grace_s=10)
    return {name: value for name, _, value in properties}


def test_the_journal_fields_name_deployment_and_stack() -> None:
    fields = described()["LogExtraFields"]

    assert fields == [
        b"DEPLOYMENT_ID=d1",
        b"DEPLOYMENT_NAME=web",
        b"DEPLOYMENT_GROUP=script",
        b"DEPLOYMENT_STACK=s/1",
    ]


def test_limits_are_those_that_the_deployment_asks_for() -> None:
    assert not {"MemoryMax", "TasksMax", "CPUQuotaPerSecUSec"} & described().keys()

    limited = described(memory="1G", tasks=10, cpu="150%")

    assert (1 << 30, 10, 1_500_000) == tuple(limited[n] for n in ("MemoryMax", "TasksMax", "CPUQuotaPerSecUSec"))


def test_a_unit_is_named_after_the_deployment_and_the_time() -> None:
    assert "os-deploy-agent-run-d-1-ff.service" == units.name("d-1", 255)


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        (BOTH, {}, ("memory", "tasks", "cpu")),
        (BOTH, {"memory.max": "max\n", "pids.max": "max\n", "cpu.max": "max 100000\n"}, ("memory", "tasks", "cpu")),
        ("0::/x.service\n", {"memory.max": "1000\n", "pids.max": "5\n", "cpu.max": "20000 100000\n"}, ()),
        (BOTH, {"memory/memory.limit_in_bytes": "9223372036854771712\n"}, ("memory", "tasks", "cpu")),
        (
            BOTH,
            {"memory/memory.limit_in_bytes": "4096\n", "pids/pids.max": "5\n", "cpu/cpu.cfs_quota_us": "20000\n"},
            (),
        ),
        (BOTH, {"memory/memory.limit_in_bytes": "4096\n", "cpu/cpu.cfs_quota_us": "-1\n"}, ("tasks", "cpu")),
    ],
)
def test_a_limit_without_a_file_that_holds_it_is_not_kept(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: tuple[str, ...]
) -> None:
    for name, text in files.items():
        controller, _, file = name.rpartition("/")
        path = tmp_path / controller / "x.service" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    assert expected == units.unenforced({"memory": 1, "tasks": 1, "cpu": 1}, cgroup, tmp_path)


SYSTEMD = "1:name=systemd:/init.scope\n0::/init.scope\n"
OURS = "system.slice/os-deploy-agent-run-web-ff.service"


@pytest.mark.parametrize(
    ("cgroup", "manager", "expected"),
    [
        (f"5:memory:/\n0::/{OURS}\n", SYSTEMD, True),
        (f"5:memory:/\n1:name=systemd:/{OURS}/below\n", SYSTEMD, True),
        (f"0::/some.slice/{OURS}\n", SYSTEMD, True),
        (f"0::/../../{OURS}\n", "0::/../../init.scope\n", True),
        (f"0::/{OURS.replace('web', 'web-1')}\n", SYSTEMD, False),
        (f"0::/{OURS.replace('web', 'we')}\n", SYSTEMD, False),
        (f"0::/guest/{OURS}\n", SYSTEMD, False),
        (f"0::/machine.slice/a.scope/payload/{OURS}\n", SYSTEMD, False),
        (f"0::/{OURS}\n", "0::/lxc/init.scope\n", False),
        (f"0::/lxc/{OURS}\n", "0::/lxc/init.scope\n", True),
        (f"0::/{OURS}\n", "0::/\n", False),
    ],
)
def test_a_unit_of_a_deployment_is_one_of_our_own_systemd(cgroup: str, manager: str, expected: bool) -> None:
    assert expected is units.is_member("web", cgroup, manager)
