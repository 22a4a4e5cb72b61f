"""A runner in a systemd unit of its own: outside of the agent's sandbox and cgroup, with limits and journal fields.

    agent: lock taken -> journal.begin (durable) -> fork -> child: unit asked for, with the lock's descriptor
    unit:  descriptor of the lock as stdin -> reads what to do from the locked file -> says that it lives -> hook

The lock is never free in between: the agent holds it, then the message that carries it, then systemd, then the runner.
So "held" goes on to mean that the deployment is being run, whoever is killed meanwhile.
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from agent import jsontext, parse
from agent.errors import AgentError, Unavailable
from agent.model import Deployment, Json, JsonMap
from agent.settings import Settings
from agent.state import Lock
from agent.systemd import notify, units

UNIT = "unit"
"""The value of the setting `runner` that asks for this."""
PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from agent import runner; runner.in_unit()"
START_S = 60.0  # an interpreter on a guest that has much else to do
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
    """What the runner in the unit was given."""

    deployment: Deployment
    settings: Settings
    told: Mapping[str, str]
    lock: Lock
    tell: int


def prepare(deployment: Deployment, settings: Settings, told: Mapping[str, str], lock: Lock) -> None:
    """Write down what the runner is to do, in the file whose lock it will hold. Raises StateError."""
    given: JsonMap = {
        "key": deployment.key,
        "source": deployment.source,
        "raw": deployment.raw,
        "settings": _public(settings),
        "environ": {name: value for name, value in os.environ.items() if name not in _OF_A_SERVICE},
        "told": dict(told),
    }
    lock.fill(given)


def start(deployment: Deployment, settings: Settings, lock: Lock, tell: int) -> str:
    """Have systemd start the runner; why it did not, or "" when it lives.

    Raises Unavailable when nobody can say which: the lock can.
    """
    from agent.systemd import bus  # noqa: PLC0415 - heavy, and for this process alone

    argv = [sys.executable, "-I", "-c", PROGRAM, str(Path(__file__).parents[1])]
    properties = units.properties(deployment, argv, lock=0, tell=1, grace_s=settings.kill_grace)
    name = units.name(deployment.key, time.time_ns())
    for left in reversed(range(CONNECT_TRIES)):
        try:
            with bus.connected() as manager:
                result = manager.start_transient(name, properties, [lock.fileno(), tell], timeout_s=START_S)
                return "" if result == bus.DONE else f"systemd's job for {name} ended with {result}; see journalctl"
        except bus.NotConnected as exc:
            if not left:
                return str(exc)
            time.sleep(CONNECT_PAUSE_S)
        except Unavailable:
            raise
        except AgentError as exc:
            return str(exc)
    raise AssertionError  # the last try returned


def take() -> Taken:
    """In the unit: the lock from stdin, the agent's ear from stdout, and from the locked file what to do."""
    lock, tell = Lock(Path(), os.dup(0)), os.dup(1)
    given = cast("dict[str, Any]", jsontext.decode_map(os.pread(lock.fileno(), os.fstat(0).st_size, 0), "the lock"))
    null = os.open(os.devnull, os.O_RDWR)
    journal = notify.journal_stream("os-deploy-agent")
    for standard, fd in enumerate((null, null, journal if journal >= 0 else null)):
        os.dup2(fd, standard)
    own = {name: value for name, value in os.environ.items() if name in _OF_A_SERVICE}
    os.environ.clear()
    os.environ.update({**given["environ"], **own})
    deployment = dataclasses.replace(parse.deployment(given["raw"]), key=given["key"], source=given["source"])
    return Taken(deployment, _settings(given["settings"]), given["told"], lock, tell)


def _public(settings: Settings) -> JsonMap:
    """The settings without what a runner has no use for: secrets are the signaller's."""
    fields = [field for field in dataclasses.fields(settings) if not field.metadata.get("secret")]
    values = {field.name: getattr(settings, field.name) for field in fields}
    return {**values, "root": str(settings.root)}


def _settings(values: Mapping[str, Json]) -> Settings:
    made: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    return Settings(**{**made, "root": Path(made["root"])})
