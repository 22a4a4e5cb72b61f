"""Programs of ours in systemd units: outside of the agent's sandbox and cgroup, with limits and journal fields.

    agent: lock taken -> journal.begin (durable) -> fork -> child: unit asked for, with the lock's descriptor
    unit:  descriptor of the lock as stdin, what to do as stderr -> says that it lives -> hook

The lock of a deployment is never free in between: the agent holds it, then the message that carries it, then systemd,
then the runner. So "held" goes on to mean that the deployment is being run, whoever is killed meanwhile.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from agent import jsontext, parse
from agent.errors import AgentError, Interrupted, Unavailable
from agent.model import Deployment, Json, JsonMap
from agent.settings import Settings
from agent.systemd import notify, units

if TYPE_CHECKING:
    from agent.systemd.bus import Manager

T = TypeVar("T")

# Calls `in_unit` of one of our modules.
PROGRAM = """import sys
from importlib import import_module
sys.path.insert(0, sys.argv[1])
import_module(sys.argv[2]).in_unit()"""
START_S = 60.0  # an interpreter on a guest that has much else to do
STOP_S = 60.0
CONNECT_TRIES, CONNECT_PAUSE_S = 5, 2.0  # a bus that is just being started or upgraded
# Of the service that is the agent; a unit has its own.
_OF_A_SERVICE = frozenset(
    {
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID"),
        *("CREDENTIALS_DIRECTORY", "STATE_DIRECTORY", "LOGS_DIRECTORY", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"),
    }
)


@dataclass(frozen=True, slots=True)
class Taken:
    """What a program in a unit was given: two descriptors, the agent's settings and what is to be done."""

    stdin: int
    stdout: int
    settings: Settings
    work: Mapping[str, Any]


def start(deployment: Deployment, told: Mapping[str, str], settings: Settings, lock: int, tell: int) -> str:
    """Have systemd start the runner of a deployment; why it did not, or "" when it lives.

    Raises Unavailable when nobody can say which: the lock can.
    """
    from agent.systemd.bus import DONE  # noqa: PLC0415 - heavy, and for this process alone

    name = units.name(deployment.key, time.time_ns())
    work = _given(settings, {"deployment": as_json(deployment), "told": dict(told)})
    properties = units.properties(deployment, _argv("agent.runner"), grace_s=settings.kill_grace)
    try:
        result = _ask(lambda manager: manager.start_transient(name, properties, [lock, tell, work], timeout_s=START_S))
    except Unavailable as exc:
        if not exc.sent:
            return str(exc)
        raise
    except AgentError as exc:
        return str(exc)
    return "" if result == DONE else f"systemd's job for {name} ended with {result}; see journalctl --unit {name}"


def run(module: str, what: str, work: JsonMap, settings: Settings, fds: tuple[int, int], timeout_s: float) -> int:
    """Have systemd run a program of ours to its end, with `fds` as its streams; the status it would have as a child.

    A SIGTERM to us stops it. Raises AgentError where it cannot be run, Interrupted when it was stopped.
    """
    from agent.systemd.bus import DONE  # noqa: PLC0415 - as above

    name = f"{units.PREFIX}{what}-{time.time_ns():x}.service"
    properties = units.job_properties(what, _argv(module), timeout_s=timeout_s, grace_s=settings.kill_grace)
    given = _given(settings, work)

    def to_its_end(manager: Manager) -> str:
        try:
            return manager.start_transient(name, properties, [*fds, given], timeout_s=timeout_s + START_S)
        except Interrupted:
            manager.act("stop", name, timeout_s=STOP_S)
            raise

    return 0 if _ask(to_its_end) == DONE else 1


def take() -> Taken:
    """In the unit: what our streams are, which become /dev/null and the journal, and what is to be done."""
    kept = os.dup(0), os.dup(1)
    given = cast("dict[str, Any]", jsontext.decode_map(os.pread(2, os.fstat(2).st_size, 0), "what the agent gave"))
    null, journal = os.open(os.devnull, os.O_RDWR), notify.journal_stream("os-deploy-agent")
    for standard, fd in enumerate((null, null, journal if journal >= 0 else null)):
        os.dup2(fd, standard)
    own = {name: value for name, value in os.environ.items() if name in _OF_A_SERVICE}
    os.environ.clear()
    os.environ.update({**given["environ"], **own})
    return Taken(*kept, _settings(given["settings"]), given["work"])


def as_json(deployment: Deployment) -> JsonMap:
    return {"key": deployment.key, "source": deployment.source, "raw": deployment.raw}


def from_json(given: Mapping[str, Any]) -> Deployment:
    return dataclasses.replace(parse.deployment(given["raw"]), key=given["key"], source=given["source"])


def _ask(question: Callable[[Manager], T]) -> T:
    """What systemd says, asked once a bus is there."""
    from agent.systemd import bus  # noqa: PLC0415 - as above

    for left in reversed(range(CONNECT_TRIES)):
        try:
            with bus.connected() as manager:
                return question(manager)
        except Unavailable as exc:
            if exc.sent or not left:
                raise
            time.sleep(CONNECT_PAUSE_S)
    raise AssertionError  # the last try has returned or raised


def _argv(module: str) -> Sequence[str]:
    return [sys.executable, "-I", "-c", PROGRAM, str(Path(__file__).parents[1]), module]


def _given(settings: Settings, work: JsonMap) -> int:
    """A file in memory that holds what a program is to do; it is nobody else's to read."""
    environ: JsonMap = {name: value for name, value in os.environ.items() if name not in _OF_A_SERVICE}
    given: JsonMap = {"settings": _public(settings), "environ": environ, "work": work}
    fd = os.memfd_create("os-deploy-agent", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(json.dumps(given).encode())
    return fd


def _public(settings: Settings) -> JsonMap:
    """The settings without what these programs have no use for: secrets are the signaller's."""
    fields = [field for field in dataclasses.fields(settings) if not field.metadata.get("secret")]
    values = {field.name: getattr(settings, field.name) for field in fields}
    return {**values, "root": str(settings.root)}


def _settings(values: Mapping[str, Json]) -> Settings:
    """The same again. What a newer or older agent does not know is left out, or has its default."""
    known = {field.name for field in dataclasses.fields(Settings)}
    made: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items() if name in known
    }
    return Settings(**{**made, "root": Path(made["root"])})
