"""What the owner of a guest lets deployments do: the policy as a value, and the judgement of one deployment. Pure.

An unknown rule, or a rule that cannot be understood, makes the whole policy unreadable: a guard with a typo guards
nothing, and nothing may look guarded that is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from agent import options
from agent.errors import TrustError
from agent.jsontext import kind
from agent.model import Deployment, Json, JsonMap
from agent.trust.statement import Signed, signed

VERSION = 1
RULES = ("version", "groups", "sources", "run_as", "limits", "signature_required", "signers")
_SIGNER = ("name", "key", "groups", "purpose")
_BOUNDED = ("timeout", *options.LIMITS)

Fits = Callable[[str, bytes, bytes], bool]
"""(public key, signature, statement) -> whether they belong together."""


@dataclass(frozen=True, slots=True)
class Signer:
    """Whose signature counts; for these groups only (None: all) and with this purpose only ("": any)."""

    name: str
    key: str
    identity: str
    groups: frozenset[str] | None = None
    purpose: str = ""


@dataclass(frozen=True, slots=True)
class Policy:
    """None means that there is no such rule. Limits are in seconds, bytes and numbers, by option."""

    groups: frozenset[str] | None = None
    sources: frozenset[str] | None = None
    run_as: frozenset[str] | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    signature_required: bool = False
    signers: tuple[Signer, ...] = ()


def parse(content: Json, identity: Callable[[str], str]) -> Policy:
    """The policy that a file says; `identity` names a public key and raises TrustError when it is none.

    Raises TrustError naming the rule at fault.
    """
    rules = _map(content, "the policy")
    if unknown := rules.keys() - set(RULES):
        raise TrustError(f"unknown rule {', '.join(sorted(unknown))}; known are {', '.join(RULES)}")
    if rules.get("version") != VERSION or isinstance(rules["version"], bool):
        raise TrustError(f"version is not {VERSION}; write version: {VERSION}")
    required = rules.get("signature_required", False)
    if not isinstance(required, bool):
        raise TrustError("signature_required is neither true nor false")
    signers = rules.get("signers", [])
    if not isinstance(signers, list) or (required and not signers):
        raise TrustError("signers is no list of those whose signature counts, with name and key")
    known = tuple(_signer(element, identity) for element in signers)
    if len({signer.identity for signer in known}) < len(known):
        raise TrustError("signers: a key stands twice; give its signer all groups in one place")
    return Policy(
        _names(rules, "groups"),
        _names(rules, "sources"),
        _names(rules, "run_as"),
        _limits(rules.get("limits", {})),
        required,
        known,
    )


def refusal(policy: Policy, deployment: Deployment, now: str, fits: Fits) -> str:
    """Why the policy refuses a deployment, naming the rule; "" when it does not. `now` is UTC as `expires` is."""
    return (
        _unlisted("groups", "group", deployment.group, policy.groups)
        or _unlisted("sources", "source", deployment.source, policy.sources)
        or _unlisted("run_as", "user", _user(deployment), policy.run_as)
        or _beyond(policy, deployment)
        or (_unsigned(policy, deployment, now, fits) if policy.signature_required else "")
    )


def signer_of(policy: Policy, found: Signed, group: str, now: str, fits: Fits) -> Signer:
    """Who of the policy's signers signed it. Raises TrustError saying why the signature does not count."""
    signers = [signer for signer in policy.signers if signer.identity == found.terms.key]
    if not signers:
        raise TrustError(f"nobody among signers has the key {found.terms.key}")
    if found.terms.expires <= now:
        raise TrustError(f"its signature expired at {found.terms.expires}")
    signer = signers[0]
    if not fits(signer.key, found.value, found.statement):
        raise TrustError(f"its signature by {signer.name} does not fit; it was changed after it was signed")
    if signer.groups is not None and group not in signer.groups:
        raise TrustError(f"{signer.name} may not sign for group '{group}'")
    if signer.purpose and signer.purpose != found.terms.purpose:
        raise TrustError(f"{signer.name} signed it for '{found.terms.purpose}', here is '{signer.purpose}'")
    return signer


def _unsigned(policy: Policy, deployment: Deployment, now: str, fits: Fits) -> str:
    try:
        found = signed(deployment.listed)
        if found is None:
            return "rule signature_required: it carries no signature; agent sign makes one"
        signer_of(policy, found, deployment.group, now, fits)
    except TrustError as exc:
        return f"rule signature_required: {exc}; sign it anew with agent sign"
    return ""


def _unlisted(rule: str, what: str, value: str, listed: frozenset[str] | None) -> str:
    if listed is None or value in listed:
        return ""
    return f"rule {rule}: {what} '{value}' is not among {', '.join(sorted(listed)) or 'the allowed, which are none'}"


def _user(deployment: Deployment) -> str:
    """Who it runs as: root unless it says otherwise."""
    return "root" if deployment.manner.run_as in ("", "0") else deployment.manner.run_as


def _beyond(policy: Policy, deployment: Deployment) -> str:
    asked: dict[str, float] = dict(deployment.manner.limits)
    if deployment.manner.timeout_s is not None:
        asked["timeout"] = deployment.manner.timeout_s
    for name, value in asked.items():
        if name in policy.limits and value > policy.limits[name]:
            return f"rule limits: its option {name} asks for {value:g}, allowed is {policy.limits[name]:g}"
    return ""


def _limits(content: Json) -> dict[str, float]:
    limits = _map(content, "limits")
    if unknown := limits.keys() - set(_BOUNDED):
        raise TrustError(f"limits: unknown option {', '.join(sorted(unknown))}; known are {', '.join(_BOUNDED)}")
    faults: list[str] = []
    manner = options.parse({**limits, "run_as": "nobody"}, faults)  # the words and units of the options themselves
    if faults or None in limits.values():
        raise TrustError(f"limits: {'; '.join(faults) or 'null is no limit'}".replace("its option ", ""))
    timeout = {} if manner.timeout_s is None else {"timeout": manner.timeout_s}
    return {**manner.limits, **timeout}


def _signer(element: Json, identity: Callable[[str], str]) -> Signer:
    named = _map(element, "an element of signers")
    if unknown := named.keys() - set(_SIGNER):
        raise TrustError(f"signers: unknown {', '.join(sorted(unknown))}; known are {', '.join(_SIGNER)}")
    name, key, purpose = named.get("name"), named.get("key"), named.get("purpose", "")
    if not isinstance(name, str) or not isinstance(key, str) or not isinstance(purpose, str) or not name:
        raise TrustError("signers: each has a name and a key, and perhaps a purpose, all of them text")
    return Signer(name, key, identity(key), _names(named, "groups"), purpose)


def _names(rules: JsonMap, rule: str) -> frozenset[str] | None:
    if rule not in rules:
        return None
    listed = rules[rule]
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        raise TrustError(f"{rule} is no list of names")
    return frozenset(name for name in listed if isinstance(name, str))


def _map(content: Json, what: str) -> JsonMap:
    if not isinstance(content, dict) or not all(isinstance(name, str) for name in content):
        raise TrustError(f"{what} is {kind(content)}, keys and values are wanted")
    return content
