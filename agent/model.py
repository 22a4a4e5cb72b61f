"""The nouns, and the one place where Heat's JSON becomes them.

Shapes: heat/rpc/api.py and heat/engine/service_software_config.py (derive_software_config, _push_metadata).
Everything here is a value; a deployment that cannot be run is parsed all the same and carries its `fault`, so that
Heat is told about it instead of waiting.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast

from agent.errors import MetadataError
from agent.options import USUAL, Manner
from agent.options import parse as parse_manner

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

STATUS_REBOOT = 194
"""With it a hook asks for a reboot, after which it is run again."""
REBOOT_FROM = "os_deploy_agent_reboot_from"
"""Key of a stored outcome that asks for a reboot: the boot that it is to end."""

MAX_DEPTH = 256
"""Deepest nesting of a document; everything that walks one may recurse."""

_FILE_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


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
    """Where a signal goes. `transport` is Heat's word for it; "" when nobody waits for a signal."""

    transport: str = ""
    url: str = field(default="", repr=False)
    verb: str = "POST"
    stack_id: str = ""
    resource_name: str = ""
    credentials: Credentials | None = None
    queue_id: str = ""

    @property
    def wanted(self) -> bool:
        return bool(self.url or self.credentials)


@dataclass(frozen=True, slots=True)
class Deployment:
    """One SoftwareConfig that Heat derived for this server.

    `id` is Heat's, `key` names its files (the id itself unless that is unfit for a file name), `raw` is the element as
    it came, for hooks that are programs of their own.
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
    manner: Manner = USUAL
    fault: str = ""


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
    """What the journal knows of one deployment. `progress` is one of the words below."""

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


def decode(data: bytes, what: str) -> Json:
    """JSON text as a value; `what` names it in errors.

    Raises MetadataError for anything else: bad UTF-8, NaN, an integer of 5000 digits, nesting beyond MAX_DEPTH.
    """
    try:
        value = cast(Json, json.loads(data, parse_constant=_no_constant))
    except RecursionError as exc:
        raise MetadataError(f"reading {what}: nested too deeply; at most {MAX_DEPTH} levels are taken") from exc
    except ValueError as exc:
        raise MetadataError(f"reading {what}: not JSON ({exc}); look at what the source serves") from exc
    if _deeper_than(value, MAX_DEPTH):
        raise MetadataError(f"reading {what}: nested too deeply; at most {MAX_DEPTH} levels are taken")
    return value


def decode_map(data: bytes, what: str) -> JsonMap:
    """Like `decode`, for text that must hold a JSON object."""
    value = decode(data, what)
    if not isinstance(value, dict):
        raise MetadataError(f"reading {what}: a JSON object is wanted, this is {_kind(value)}")
    return value


def digest(content: Json) -> str:
    """The same 64 hex digits for equal content, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def document(
    source: str,
    content: JsonMap,
    *,
    name: str = "",
    fetched_at: float = 0.0,
    validator: Mapping[str, str] | None = None,
) -> Document:
    return Document(source, name or source, content, digest(content), fetched_at, dict(validator or {}))


@dataclass(frozen=True, slots=True)
class Parsed:
    """The deployments of one document, and what could not be made into one."""

    deployments: tuple[Deployment, ...]
    problems: tuple[str, ...] = ()


def parse_deployments(document: Document, keys: Iterable[str] = ("deployments",)) -> Parsed:
    """The deployments that one document lists below the root keys `keys`, in its order.

    An element that is no object is a problem; any other becomes a Deployment, with a fault where it cannot be run.
    """
    deployments: list[Deployment] = []
    problems: list[str] = []
    for key in keys:
        listed = document.content.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list):
            problems.append(f"'{key}' is {_kind(listed)}, a list is wanted")
            continue
        for number, element in enumerate(listed):
            if isinstance(element, dict):
                deployments.append(replace(parse_deployment(element), source=document.source))
            else:
                problems.append(f"{key}[{number}] is {_kind(element)}, an object is wanted")
    return Parsed(tuple(deployments), tuple(problems))


def parse_deployment(raw: JsonMap) -> Deployment:
    """One element of Heat's list. Never raises: what is wrong with it is in `fault`."""
    faults: list[str] = []
    identity = raw.get("id")
    if not isinstance(identity, str) or not identity:
        faults.append("it has no id" if identity is None else f"its id is {_kind(identity)}, text is wanted")
        identity = ""
    elif not _FILE_SAFE.fullmatch(identity):
        faults.append(f"its id {identity[:80]!r} is no id that Heat makes (letters, digits, - and _)")
    inputs = _inputs(raw.get("inputs"), faults)
    action = _text(inputs, "deploy_action")
    group, config = _resolve_component(raw, action, faults)
    options = _options(raw.get("options"), faults)
    return Deployment(
        id=identity,
        key=_key(identity, raw),
        name=_name(raw, identity),
        group=group,
        config=config,
        inputs=inputs,
        outputs=_outputs(raw.get("outputs"), faults),
        options=options,
        action=action,
        endpoint=_endpoint(inputs),
        creation_time=_string(raw.get("creation_time")),
        raw={**raw, "group": group, "config": config} if raw.get("group") == COMPONENT else raw,
        manner=parse_manner(options, faults),
        fault="; ".join(faults),
    )


def for_executable(deployment: Deployment) -> JsonMap:
    """The deployment as a program in a hook directory reads it.

    As it came, but for inputs of type String, which the old dispatcher turned into text with Python's str().
    """
    inputs = deployment.raw.get("inputs")
    if not isinstance(inputs, list):
        return {**deployment.raw, "inputs": []}
    return {**deployment.raw, "inputs": [_as_string(element) for element in inputs]}


def outcome_from_body(body: Mapping[str, Json]) -> Outcome:
    """The inverse of `Outcome.body`; a status that is no whole number counts as a failure."""
    named = ("deploy_stdout", "deploy_stderr", "deploy_status_code")
    return Outcome(
        status=status_from(body.get("deploy_status_code")),
        stdout=_string(body.get("deploy_stdout")),
        stderr=_string(body.get("deploy_stderr")),
        outputs={name: value for name, value in body.items() if name not in named},
    )


def status_from(value: Json) -> int:
    """A status as hooks write it (0, "0", null, "3") as a number; Heat takes absent and null for success."""
    if value is None or value == "":
        return 0
    if isinstance(value, float) and not value.is_integer():
        return 1
    try:
        return int(cast(Any, value))
    except (TypeError, ValueError, OverflowError):
        return 1


def failing_outputs(deployment: Deployment, body: Mapping[str, Json]) -> tuple[str, ...]:
    """The declared error outputs that hold something: Heat fails the deployment for them, whatever the status."""
    return tuple(o.name for o in deployment.outputs if o.error_output and body.get(o.name) not in (None, ""))


def as_text(value: Json) -> str:
    """A value as text for an environment: text as it is, null as nothing, everything else as JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _deeper_than(value: Json, limit: int) -> bool:
    layer: list[Json] = [value]
    for _ in range(limit):
        layer = [
            child
            for parent in layer
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
            if isinstance(child, (dict, list))
        ]
        if not layer:
            return False
    return True


def _kind(value: Json) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case _:
            return "an object"


def _key(identity: str, raw: JsonMap) -> str:
    if identity and _FILE_SAFE.fullmatch(identity):
        return identity
    return "unnamed-" + digest(identity or raw)[:32]


def _name(raw: JsonMap, identity: str) -> str:
    name = raw.get("name")
    return name if isinstance(name, str) and name else identity or "(no name)"


def _string(value: Json) -> str:
    return value if isinstance(value, str) else ""


def _inputs(listed: Json, faults: list[str]) -> dict[str, Input]:
    inputs: dict[str, Input] = {}
    for number, element in enumerate(_elements(listed, "inputs", faults)):
        name = element.get("name")
        if not isinstance(name, str) or not name:
            faults.append(f"inputs[{number}] has no name")
            continue
        kind = element.get("type")
        value = element["value"] if "value" in element else element.get("default", "")
        inputs[name] = Input(name, kind if isinstance(kind, str) and kind else "String", value)
    return inputs


def _outputs(listed: Json, faults: list[str]) -> tuple[Output, ...]:
    outputs: list[Output] = []
    for number, element in enumerate(_elements(listed, "outputs", faults)):
        name = element.get("name")
        if not isinstance(name, str) or not name:
            faults.append(f"outputs[{number}] has no name")
        elif "/" in name or "\0" in name:
            faults.append(f"output {name[:80]!r} cannot be a file name")
        else:
            outputs.append(Output(name, _string(element.get("type")) or "String", element.get("error_output") is True))
    return tuple(outputs)


def _options(options: Json, faults: list[str]) -> JsonMap:
    if options is None:
        return {}
    if not isinstance(options, dict):
        faults.append(f"options is {_kind(options)}, an object is wanted")
        return {}
    return options


def _elements(listed: Json, what: str, faults: list[str]) -> list[JsonMap]:
    if listed is None:
        return []
    if not isinstance(listed, list):
        faults.append(f"{what} is {_kind(listed)}, a list is wanted")
        return []
    elements = [element for element in listed if isinstance(element, dict)]
    if len(elements) != len(listed):
        faults.append(f"{what} holds something that is no object")
    return elements


def _resolve_component(raw: JsonMap, action: str, faults: list[str]) -> tuple[str, Json]:
    """Group and config to run: a component's first entry whose actions name the present one."""
    group, config = raw.get("group"), raw.get("config")
    if group is None or group == "":
        return "Heat::Ungrouped", config
    if not isinstance(group, str):
        faults.append(f"its group is {_kind(group)}, text is wanted")
        return "", config
    if group != COMPONENT:
        return group, config
    configs = config.get("configs") if isinstance(config, dict) else None
    for entry in configs if isinstance(configs, list) else []:
        actions = entry.get("actions") if isinstance(entry, dict) else None
        if isinstance(entry, dict) and isinstance(actions, list) and action in actions:
            tool = entry.get("tool")
            if not isinstance(tool, str) or not tool:
                faults.append(f"its component entry for {action} names no tool")
            return _string(tool), entry.get("config")
    faults.append(
        f"its component has no config for the action {action or '(none)'}; add one, or leave the action out of the "
        "deployment's actions"
    )
    return COMPONENT, config


def _text(inputs: Mapping[str, Input], name: str) -> str:
    found = inputs.get(name)
    return as_text(found.value) if found else ""


def _endpoint(inputs: Mapping[str, Input]) -> Endpoint:
    transport = _text(inputs, "deploy_signal_transport")
    url = _text(inputs, "deploy_signal_id")
    auth_url = _text(inputs, "deploy_auth_url")
    queue_id = _text(inputs, "deploy_queue_id")
    credentials = None
    if auth_url and not url:
        credentials = Credentials(
            auth_url,
            _text(inputs, "deploy_user_id"),
            _text(inputs, "deploy_password"),
            _text(inputs, "deploy_project_id"),
            _text(inputs, "deploy_region_name"),
        )
    if not transport:  # templates older than Heat's Liberty release do not name it
        transport = "CFN_SIGNAL" if url else "ZAQAR_SIGNAL" if queue_id else "HEAT_SIGNAL" if credentials else ""
    return Endpoint(
        transport=transport,
        url=url,
        verb="PUT" if _text(inputs, "deploy_signal_verb") == "PUT" else "POST",
        stack_id=_text(inputs, "deploy_stack_id"),
        resource_name=_text(inputs, "deploy_resource_name"),
        credentials=credentials,
        queue_id=queue_id,
    )


def _as_string(element: Json) -> Json:
    if not isinstance(element, dict) or element.get("type") != "String" or "value" not in element:
        return element
    value = element["value"]
    return element if isinstance(value, str) else {**element, "value": str(value)}
