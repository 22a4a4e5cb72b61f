"""The units that our programs are run in: names, properties, who is in one. Pure, but for the last question."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

from agent.model import Deployment

LIBRARIES = ("dbus_next", "dbus_fast")  # for D-Bus; the first that is installed
PREFIX = "os-deploy-agent-run-"
STOP_EXTRA_S = 30.0  # a runner that is told to end gets kill_grace for its hook, and this to store the outcome
FOREVER = (1 << 64) - 1
CGROUPS = Path("/sys/fs/cgroup")

Property: TypeAlias = "tuple[str, str, object]"
"""Name, D-Bus signature and value."""


def name(key: str, began_ns: int) -> str:
    """One unit for each time that a deployment is begun: what an earlier hook has left running keeps its own."""
    return f"{PREFIX}{key}-{began_ns:x}.service"


def properties(deployment: Deployment, argv: Sequence[str], *, grace_s: float) -> tuple[Property, ...]:
    """What systemd is to know of the unit of a deployment.

    systemd.service(5), systemd.exec(5), systemd.resource-control(5).
    """
    return (
        ("Description", "s", f"deployment {deployment.name} ({deployment.id})"),
        ("Type", "s", "notify"),  # so that the job is done when the runner says that it lives
        ("TimeoutStartUSec", "t", FOREVER),  # a hook is not to end because nobody heard that it runs
        ("LogExtraFields", "aay", [f"{name}={value}".encode() for name, value in journal_fields(deployment).items()]),
        *_program(argv, grace_s),
        *_limits(deployment),
    )


def job_properties(what: str, argv: Sequence[str], *, timeout_s: float, grace_s: float) -> tuple[Property, ...]:
    """The same for a program that is waited for."""
    return (
        ("Description", "s", f"os-deploy-agent: {what}"),
        ("Type", "s", "oneshot"),  # so that the job is done when the program has ended
        ("TimeoutStartUSec", "t", int(timeout_s * 1e6)),
        *_program(argv, grace_s),
    )


def _program(argv: Sequence[str], grace_s: float) -> tuple[Property, ...]:
    """What all programs of ours have in common; their streams are the first three descriptors of the message."""
    return (
        ("ExecStart", "a(sasb)", [[argv[0], list(argv), False]]),
        ("CollectMode", "s", "inactive-or-failed"),
        ("KillMode", "s", "process"),  # what is run may leave a service behind
        ("TimeoutStopUSec", "t", int((grace_s + STOP_EXTRA_S) * 1e6)),
        ("OOMPolicy", "s", "continue"),  # a hook without memory fails; its runner lives on to say so
        ("StandardInputFileDescriptor", "h", 0),
        ("StandardOutputFileDescriptor", "h", 1),
        ("StandardErrorFileDescriptor", "h", 2),
    )


def journal_fields(deployment: Deployment) -> dict[str, str]:
    """By which what is said of a deployment is found in the journal."""
    return {
        "DEPLOYMENT_ID": deployment.id,
        "DEPLOYMENT_NAME": deployment.name,
        "DEPLOYMENT_GROUP": deployment.group,
        "DEPLOYMENT_STACK": deployment.endpoint.stack_id,
    }


def _limits(deployment: Deployment) -> tuple[Property, ...]:
    wanted = wanted_limits(deployment)
    names = {"memory": "MemoryMax", "tasks": "TasksMax", "cpu": "CPUQuotaPerSecUSec"}
    return tuple((names[name], "t", value) for name, value in wanted.items())


def wanted_limits(deployment: Deployment) -> dict[str, int]:
    """The limits of all processes together: bytes, a number, microseconds of CPU time in a second."""
    manner = deployment.manner
    limits = {name: manner.limits[name] for name in ("memory", "tasks") if name in manner.limits}
    return {**limits, **({"cpu": manner.cpu_percent * 10_000} if manner.cpu_percent else {})}


def unenforced(wanted: Mapping[str, int], cgroup: str, mounted: Path = CGROUPS) -> tuple[str, ...]:
    """Those of the limits that nobody keeps, as this machine does not own the controller.

    `cgroup` is the text of /proc/self/cgroup: cgroups(7), both versions.
    """
    files = {
        "memory": (("memory", "memory.limit_in_bytes"), ("", "memory.max")),
        "tasks": (("pids", "pids.max"), ("", "pids.max")),
        "cpu": (("cpu", "cpu.cfs_quota_us"), ("", "cpu.max")),
    }
    paths = {
        controller: path for line in cgroup.splitlines() for controller in _split(line)[0] for path in [_split(line)[1]]
    }
    kept = set()
    for limit in wanted:
        for controller, file in files[limit]:
            if controller in paths and _is_number(mounted / controller / paths[controller].lstrip("/") / file):
                kept.add(limit)
    return tuple(limit for limit in wanted if limit not in kept)


def _split(line: str) -> tuple[tuple[str, ...], str]:
    """Controllers (an empty word for version 2) and path of a line of /proc/<pid>/cgroup."""
    _, controllers, path = line.split(":", 2)
    return tuple(controllers.split(",")), path


def _is_number(path: Path) -> bool:
    """Whether a file of a cgroup holds a limit; none is `max`, -1, or all the bytes that there can be."""
    with suppress(OSError, ValueError, IndexError):
        return 0 <= int(path.read_text().split()[0]) < 1 << 60
    return False


def members(key: str) -> list[int]:
    """The processes in units of a deployment that our systemd started, this one left out."""
    manager = _cgroup_of("1")
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdecimal() and int(entry) != os.getpid():
            with suppress(OSError):  # it is gone
                if is_member(key, _cgroup_of(entry), manager):
                    found.append(int(entry))
    return found


def _cgroup_of(pid: str) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text("utf-8", "replace")


def is_member(key: str, cgroup: str, manager: str) -> bool:
    """Whether a process is in a unit of a deployment; each unit's name says whose it is.

    `cgroup` and `manager` are the texts of its and of PID 1's /proc/<pid>/cgroup. A container has units of the same
    names, which are another systemd's: between ours and a unit of ours there is nothing but slices.
    """
    tops = {}
    for line in manager.splitlines():
        hierarchy, _, path = line.split(":", 2)
        if path.endswith("/init.scope"):
            tops[hierarchy] = path.removesuffix("init.scope")
    for line in cgroup.splitlines():
        hierarchy, _, path = line.split(":", 2)
        if hierarchy in tops and path.startswith(tops[hierarchy]):
            below = path.removeprefix(tops[hierarchy]).split("/")
            unit = next((part for part in below if not part.endswith(".slice")), "")
            if unit.endswith(".service") and unit.rpartition("-")[0] == f"{PREFIX}{key}":
                return True
    return False
