"""The policy of a guest's owner: each rule allows, refuses by name, and cannot be misspelt."""

from typing import Any

import pytest

from agent.errors import TrustError
from agent.model import Json, JsonMap
from agent.trust import keys, policy
from tests.trust.signing import SCRIPT, key, listed, refusal, sign

SIGNER = {"name": "release", "key": keys.public(key())}


def rules(**given: Any) -> policy.Policy:
    return policy.parse({"version": 1, **given}, keys.identity)


def asking(**options: Json) -> JsonMap:
    return {**listed({**SCRIPT, "options": options})}


@pytest.mark.parametrize(
    ("given", "element", "why"),
    [
        ({"groups": ["script"]}, asking(), ""),
        ({"groups": ["ansible"]}, asking(), "rule groups: group 'script' is not among ansible"),
        ({"groups": []}, asking(), "rule groups: group 'script' is not among the allowed, which are none"),
        ({"sources": [""]}, asking(), ""),
        ({"sources": ["heat"]}, asking(), "rule sources: source '' is not among heat"),
        ({"run_as": ["nobody"]}, asking(run_as="nobody"), ""),
        ({"run_as": ["nobody"]}, asking(), "rule run_as: user 'root' is not among nobody"),
        ({"run_as": ["nobody"]}, asking(run_as=0), "rule run_as: user 'root' is not among nobody"),
        ({"run_as": ["root"]}, asking(), ""),
        ({"limits": {"timeout": 60}}, asking(timeout=60), ""),
        ({"limits": {"timeout": 60}}, asking(timeout=61), "rule limits: its option timeout asks for 61, allowed is 60"),
        ({"limits": {"memory": "1K"}}, asking(memory=2048), "rule limits: its option memory asks for 2048"),
        ({"signature_required": True, "signers": [SIGNER]}, listed(sign(SCRIPT)), ""),
        ({"signature_required": True, "signers": [SIGNER]}, asking(), "rule signature_required: it carries no sign"),
        (
            {"signature_required": True, "signers": [{**SIGNER, "groups": ["ansible"]}]},
            listed(sign(SCRIPT)),
            "release may not sign for group 'script'",
        ),
        (
            {"signature_required": True, "signers": [{**SIGNER, "key": keys.public(key(2))}]},
            listed(sign(SCRIPT)),
            "nobody among signers has the key",
        ),
    ],
)
def test_a_rule_allows_or_refuses_by_its_name(given: JsonMap, element: JsonMap, why: str) -> None:
    said = refusal(element, rules(**given))

    assert (said == "") == (why == "")
    assert why in said


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ([], "the policy is a list"),
        ({}, "version is not 1"),
        ({"version": True}, "version is not 1"),
        ({"version": 1, "group": ["script"]}, "unknown rule group; known are"),
        ({"version": 1, "groups": "script"}, "groups is no list of names"),
        ({"version": 1, "run_as": [0]}, "run_as is no list of names"),
        ({"version": 1, "limits": {"cpus": 1}}, "limits: unknown option cpus"),
        ({"version": 1, "limits": {"memory": "much"}}, "limits: memory is no positive whole number"),
        ({"version": 1, "limits": {"timeout": None}}, "null is no limit"),
        ({"version": 1, "signature_required": "yes"}, "neither true nor false"),
        ({"version": 1, "signature_required": True}, "signers is no list"),
        ({"version": 1, "signers": [{"name": "a"}]}, "a name and a key"),
        ({"version": 1, "signers": [{**SIGNER, "until": 1}]}, "unknown until"),
        ({"version": 1, "signers": [{"name": "a", "key": "eA=="}]}, "no Ed25519 public key"),
        ({"version": 1, "signers": [SIGNER, {**SIGNER, "name": "again"}]}, "a key stands twice"),
    ],
)
def test_a_policy_that_cannot_be_understood_is_none(content: Json, why: str) -> None:
    with pytest.raises(TrustError, match=why):
        policy.parse(content, keys.identity)
