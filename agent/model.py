"""The nouns: what Heat's words mean here, as values. `parse` makes them from Heat's JSON.

Shapes: heat/rpc/api.py and heat/engine/service_software_config.py (derive_software_config, _push_metadata).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from agent.options import USUAL, Manner

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonMap: TypeAlias = "dict[str, Json]"

INPUT_TYPES = ("String", "Number", "CommaDelimitedList", "Json", "Boolean")
COMPONENT = "component"
ANSWERED_BY_TEMPLATES = ("os-apply-config", "Heat::Ungrouped")

# Outcomes of the agent's own making, as shells and sysexits number them.
STATUS_DATA = 65
STATUS_TIMEOUT = 124
STATUS_REFUSED = 126
STATUS_NOT_FOUND = 127
STATUS_INTERRUPTED = 130

MASKED = "os_deploy_agent_masked"
"""Key of a stored outcome: those of its texts in which a hook has told a secret that it was given, with that masked."""

SIGNALLED_WITH = frozenset(
    {
        *("deploy_signal_id", "deploy_auth_url", "deploy_username", "deploy_user_id", "deploy_password"),
        *("deploy_project_id", "deploy_region_name", "deploy_queue_id"),
    }
)
"""Inputs that Heat adds for the signal (heat/engine/resources/openstack/heat/software_deployment.py)."""

NOT_KEPT, SEALED = "not_kept", "sealed"
"""Keys of an input whose value is not on this guest's disk any more, or not to be read there; see keeping."""

STATUS_REBOOT = 194
"""With it a hook asks for a reboot, after which it is run again."""
REBOOT_FROM = "os_deploy_agent_reboot_from"
"""Key of a stored outcome that asks for a reboot: the boot that it is to end."""


@dataclass(frozen=True, slots=True)
class Document:
    """What one collector fetched: a JSON object and how to ask whether it changed."""

    source: str
    name: str
    content: JsonMap = field(repr=False)
    digest: str
    fetched_at: float = 0.0
    validator: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    type: str = "String"
    value: Json = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Output:
    name: str
    type: str = "String"
    error_output: bool = False


@dataclass(frozen=True, slots=True)
class Credentials:
    """A Keystone v3 user, by id, scoped to a project."""

    auth_url: str
    user_id: str
    password: str = field(repr=False)
    project_id: str = ""
    region_name: str = ""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a signal goes. `transport` is Heat's word for it; "" when nobody waits for a signal.

    `lost` names what our own disk did not keep of it.
    """

    transport: str = ""
    url: str = field(default="", repr=False)
    verb: str = "POST"
    stack_id: str = ""
    resource_name: str = ""
    credentials: Credentials | None = None
    queue_id: str = ""
    lost: tuple[str, ...] = ()

    @property
    def wanted(self) -> bool:
        """Whether anybody waits for the outcome."""
        return self.transport not in ("", "NO_SIGNAL") and bool(self.url or self.credentials or self.lost)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One SoftwareConfig that Heat derived for this server.

    `id` is Heat's, `key` names its files (the id itself unless that is unfit for a file name), `raw` is the element as
    it came, for hooks that are programs of their own; in it a component is resolved already. `listed` is the element as
    the source listed it, which is what a signature covers. `missing` names inputs whose values are not at hand.
    """

    id: str
    key: str
    name: str
    group: str
    config: Json = field(repr=False)
    inputs: Mapping[str, Input]
    outputs: tuple[Output, ...]
    options: Mapping[str, Json]
    action: str
    endpoint: Endpoint
    source: str = ""
    creation_time: str = ""
    raw: JsonMap = field(default_factory=dict, repr=False)
    listed: JsonMap = field(default_factory=dict, repr=False)
    manner: Manner = USUAL
    fault: str = ""
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a hook did: a status (0 is success), two streams and the outputs it set.

    A stream is None where the tool's old hook said null: salt's answer is in one of them, by status.
    """

    status: int
    stdout: str | None = field(default="", repr=False)
    stderr: str | None = field(default="", repr=False)
    outputs: Mapping[str, Json] = field(default_factory=dict, repr=False)

    @property
    def failed(self) -> bool:
        return self.status != 0

    def body(self) -> JsonMap:
        """The signal: outputs and the three deploy_* keys, which win over outputs of the same name."""
        return {
            **self.outputs,
            "deploy_stdout": self.stdout,
            "deploy_stderr": self.stderr,
            "deploy_status_code": self.status,
        }


@dataclass(frozen=True, slots=True)
class Entry:
    """What the journal knows of one deployment. `progress` is one of the words below.

    `cleaned` says that nothing of it runs any more that only its hook's `sync` could end.
    """

    key: str
    progress: str
    id: str = ""
    source: str = ""
    received_at: float = 0.0
    tries: int = 0
    next_try_at: float = 0.0
    reason: str = ""
    attempt: int = 1
    reboots: int = 0
    left_boot: str = ""
    group: str = ""
    cleaned: bool = False


UNKNOWN = "unknown"  # never seen, or its mark was removed to force a rerun
RECEIVED = "received"
RUNNING = "running"
INTERRUPTED = "interrupted"  # begun, without an outcome, and nobody holds its lock
REBOOTING = "rebooting"  # the hook asked for a reboot and is to be run again after it
FINISHED = "finished"  # the outcome is on disk, the endpoint has not taken it
SIGNALLED = "signalled"
REFUSED = "refused"  # the endpoint will never take it
SUPERSEDED = "superseded"  # the id left the document before the endpoint took the outcome
FOREIGN = "foreign"  # done by the old tools
SETTLED = frozenset({SIGNALLED, REFUSED, SUPERSEDED, FOREIGN})


def failing_outputs(deployment: Deployment, body: Mapping[str, Json]) -> tuple[str, ...]:
    """The declared error outputs that hold something: Heat fails the deployment for them, whatever the status."""
    return tuple(o.name for o in deployment.outputs if o.error_output and body.get(o.name) not in (None, ""))


def told(body: Mapping[str, Json]) -> JsonMap:
    """Of a stored outcome what is signalled: all that the hook said, as it said it."""
    return {name: value for name, value in body.items() if name != MASKED}


def shown(body: Mapping[str, Json]) -> JsonMap:
    """Of a stored outcome what people are shown, and what stays when it was signalled."""
    masked = body.get(MASKED)
    return {**told(body), **(masked if isinstance(masked, dict) else {})}
