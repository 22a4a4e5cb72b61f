"""Signed software configs as Heat lists them, and a policy that wants them signed."""

from __future__ import annotations

import copy
from functools import cache

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import parse
from agent.model import Json, JsonMap
from agent.trust import keys, policy
from agent.trust.statement import OPTION, Terms, statement

NOW, LATER = "2026-11-21T12:00:00Z", "2027-11-21T12:00:00Z"


@cache
def key(number: int = 1) -> Ed25519PrivateKey:
    """The same key for the same number."""
    return Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)


SCRIPT: JsonMap = {
    "group": "script",
    "config": "#!/bin/sh\necho caf\u00e9 $port\n",
    "inputs": [
        {"name": "port", "type": "Number", "value": 80},
        {"name": "word", "type": "String", "value": "world"},
    ],
    "outputs": [
        {"name": "greeting", "type": "String", "error_output": False},
        {"name": "problem", "type": "String", "error_output": True},
    ],
    "options": {"timeout": 60, "run_as": "nobody"},
}
PLAYBOOK: JsonMap = {
    "group": "ansible",
    "config": "- hosts: localhost\n  tasks: []\n",
    "inputs": [{"name": "release", "type": "String", "value": "2026.2"}],
    "outputs": [],
    "options": {"tags": "a,b", "modulepath": None},
}
FILES: JsonMap = {
    "group": "json-file",
    "config": {"/etc/motd.json": {"a": [1, True, None, "\u00e9"], "b": {"c": "d"}}},
    "inputs": [],
    "outputs": [],
    "options": {},
}
COMPONENT: JsonMap = {
    "group": "component",
    "config": {
        "configs": [
            {"actions": ["CREATE", "UPDATE"], "config": "echo up", "tool": "script"},
            {"actions": ["DELETE"], "config": "echo down", "tool": "script"},
        ]
    },
    "inputs": [{"name": "word", "type": "String", "value": ""}],
    "outputs": [{"name": "word", "type": "String", "error_output": False}],
    "options": {},
}
CONFIGS = (SCRIPT, PLAYBOOK, FILES, COMPONENT)
PINNED = {"ansible": ("release",), "script": ("port",)}


def sign(config: JsonMap, *, by: int = 1, purpose: str = "production", expires: str = LATER) -> JsonMap:
    """The config with its signature among its options; the inputs in PINNED are pinned."""
    pinned = PINNED.get(str(config["group"]), ())
    terms = Terms(keys.identity(keys.public(key(by))), purpose, expires, pinned)
    options = config["options"]
    assert isinstance(options, dict)
    value = terms.option(keys.sign(key(by), statement(config, terms)))
    return {**copy.deepcopy(config), "options": {**copy.deepcopy(options), OPTION: value}}


def listed(config: JsonMap, *further: JsonMap) -> JsonMap:
    """The config as Heat lists it for a deployment: with an id, a name and the server's inputs."""
    inputs = config.get("inputs") or []
    assert isinstance(inputs, list)
    server: list[Json] = [
        {"name": "deploy_action", "type": "String", "value": "CREATE", "description": "Name of the current action"},
        {"name": "deploy_signal_id", "type": "String", "value": "http://127.0.0.1/signal", "description": ""},
    ]
    fields: JsonMap = {"id": "d1", "name": "web", "creation_time": "2026-11-21T11:00:00Z"}
    return {**config, **fields, "inputs": [*inputs, *server, *further]}


POLICY = policy.parse(
    {
        "version": 1,
        "signature_required": True,
        "signers": [{"name": "release", "key": keys.public(key()), "purpose": "production"}],
    },
    keys.identity,
)


def refusal(element: Json, rules: policy.Policy = POLICY) -> str:
    """What the policy says to an element of Heat's list."""
    assert isinstance(element, dict)
    return policy.refusal(rules, parse.deployment(element), NOW, keys.fits)
