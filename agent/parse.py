"""Heat's JSON becomes the nouns, here and nowhere else, and becomes JSON again for whoever wants it as it came.

A deployment that cannot be run is parsed all the same and carries its `fault`, so that Heat is told about it instead
of waiting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from agent.jsontext import as_text, digest, kind, whole_text
from agent.model import (
    COMPONENT,
    NOT_KEPT,
    SEALED,
    SIGNALLED_WITH,
    Credentials,
    Deployment,
    Document,
    Endpoint,
    Input,
    Json,
    JsonMap,
    Outcome,
    Output,
)
from agent.options import parse as parse_manner

_FILE_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


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


def deployments(document: Document, keys: Iterable[str] = ("deployments",)) -> Parsed:
    """The deployments that one document lists below the root keys `keys`, in its order.

    An element that is no object is a problem; any other becomes a Deployment, with a fault where it cannot be run.
    """
    found: list[Deployment] = []
    problems: list[str] = []
    for key in keys:
        listed = document.content.get(key)
        if listed is None:
            continue
        if not isinstance(listed, list):
            problems.append(f"'{key}' is {kind(listed)}, a list is wanted")
            continue
        for number, element in enumerate(listed):
            if isinstance(element, dict):
                found.append(replace(deployment(element), source=document.source))
            else:
                problems.append(f"{key}[{number}] is {kind(element)}, an object is wanted")
    return Parsed(tuple(found), tuple(problems))


def deployment(raw: JsonMap) -> Deployment:
    """One element of Heat's list. Never raises: what is wrong with it is in `fault`."""
    faults: list[str] = []
    identity = raw.get("id")
    if not isinstance(identity, str) or not identity:
        faults.append("it has no id" if identity is None else f"its id is {kind(identity)}, text is wanted")
        identity = ""
    elif not _FILE_SAFE.fullmatch(identity):
        faults.append(f"its id {identity[:80]!r} is no id that Heat makes (letters, digits, - and _)")
    inputs = _inputs(raw.get("inputs"), faults)
    missing = _missing(raw.get("inputs"))
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
        endpoint=replace(_endpoint(inputs), lost=tuple(name for name in missing if name in SIGNALLED_WITH)),
        creation_time=_string(raw.get("creation_time")),
        raw={**raw, "group": group, "config": config} if raw.get("group") == COMPONENT else raw,
        listed=raw,
        manner=parse_manner(options, faults),
        fault="; ".join(faults),
        missing=missing,
    )


def key_of(raw: JsonMap) -> str:
    """The key of one element of Heat's list, without parsing the rest of it."""
    identity = raw.get("id")
    return _key(identity if isinstance(identity, str) else "", raw)


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


def _key(identity: str, raw: JsonMap) -> str:
    if identity and _FILE_SAFE.fullmatch(identity):
        return identity
    return "unnamed-" + digest(identity or raw)[:32]


def _name(raw: JsonMap, identity: str) -> str:
    name = raw.get("name")
    return whole_text(name) if isinstance(name, str) and name else identity or "(no name)"


def _string(value: Json) -> str:
    return whole_text(value) if isinstance(value, str) else ""


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


def _missing(listed: Json) -> tuple[str, ...]:
    """The inputs whose values our own disk did not keep, see keeping."""
    elements = [element for element in listed if isinstance(element, dict)] if isinstance(listed, list) else []
    return tuple(
        str(element.get("name"))
        for element in elements
        if "value" not in element and (NOT_KEPT in element or SEALED in element)
    )


def _outputs(listed: Json, faults: list[str]) -> tuple[Output, ...]:
    outputs: list[Output] = []
    for number, element in enumerate(_elements(listed, "outputs", faults)):
        name = element.get("name")
        if not isinstance(name, str) or not name:
            faults.append(f"outputs[{number}] has no name")
        elif "/" in name or "\0" in name or name != whole_text(name):
            faults.append(f"output {name[:80]!r} cannot be a file name")
        else:
            outputs.append(Output(name, _string(element.get("type")) or "String", element.get("error_output") is True))
    return tuple(outputs)


def _options(options: Json, faults: list[str]) -> JsonMap:
    if options is None:
        return {}
    if not isinstance(options, dict):
        faults.append(f"options is {kind(options)}, an object is wanted")
        return {}
    return options


def _elements(listed: Json, what: str, faults: list[str]) -> list[JsonMap]:
    if listed is None:
        return []
    if not isinstance(listed, list):
        faults.append(f"{what} is {kind(listed)}, a list is wanted")
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
        faults.append(f"its group is {kind(group)}, text is wanted")
        return "", config
    if group != COMPONENT:
        return whole_text(group), config
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
    return whole_text(as_text(found.value)) if found else ""


def _endpoint(inputs: Mapping[str, Input]) -> Endpoint:
    transport = _text(inputs, "deploy_signal_transport")
    url = _text(inputs, "deploy_signal_id")
    auth_url = _text(inputs, "deploy_auth_url")
    queue_id = _text(inputs, "deploy_queue_id")
    credentials = None
    if auth_url:
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
