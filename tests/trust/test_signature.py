"""A signature stands for one meaning of a config: every honest way through Heat keeps it, every change loses it."""

import base64
import copy
import json
import random
import unicodedata
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from agent.errors import TrustError
from agent.model import JsonMap
from agent.trust.statement import OPTION, SERVER_INPUTS, Terms, statement
from tests.trust.signing import COMPONENT, CONFIGS, FILES, LATER, NOW, SCRIPT, listed, refusal, sign
from tests.unit.values import JSON_MAPS

MUTATIONS, HONEST = 1000, 50


def mutations() -> Iterator[tuple[str, Any]]:
    """Changed configs without end, each with what was done to it."""
    chance = random.Random(20261121)
    for number, config in enumerate(CONFIGS):
        yield from special(sign(config), sign(CONFIGS[number - 1]))
    while True:
        element = listed(sign(chance.choice(CONFIGS)))
        places = list(covered(element))
        parent, name = chance.choice(places)
        before = copy.deepcopy(parent[name])
        how, parent[name] = chance.choice(list(changed(before, chance)))
        if parent[name] != before or type(parent[name]) is not type(before):
            yield f"{how} at {name!r}", element


def covered(element: Any) -> Iterator[tuple[Any, Any]]:
    """Where a change must be noticed, as (container, key)."""
    for name in ("group", "config", "options"):
        yield element, name
        yield from below(element[name])
    for part in ("inputs", "outputs"):
        for inner in element[part]:
            if inner["name"] not in SERVER_INPUTS:
                yield from ((inner, key) for key in inner if key not in ("value", "description"))


def below(value: Any) -> Iterator[tuple[Any, Any]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in list(inner):
        yield value, key
        yield from below(child)


def changed(value: Any, chance: random.Random) -> Iterator[tuple[str, Any]]:
    """Other values in its place."""
    yield "another type", [value]
    yield "text of it", json.dumps(value)
    match value:
        case bool():
            yield "negated", not value
            yield "number", int(value)
        case int():
            yield "plus one", value + 1
            yield "float", value + 0.5
        case str() if value:
            at = chance.randrange(len(value))
            yield "character changed", value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :]
            yield "character dropped", value[:at] + value[at + 1 :]
            yield "space added", value[:at] + " " + value[at:]
            yield "zero-width added", value[:at] + "\u200b" + value[at:]
            yield "case swapped", value.swapcase()
            yield "decomposed", unicodedata.normalize("NFD", value)
            yield "lines ended as elsewhere", value.replace("\n", "\r\n")
            yield "marked", "\ufeff" + value
        case list() if value:
            yield "reversed", value[::-1]
            yield "shortened", value[:-1]
            yield "doubled", [*value, value[-1]]
        case dict() if value:
            first = next(iter(value))
            yield "key dropped", {key: inner for key, inner in value.items() if key != first}
            yield "key renamed", {f"{key}_" if key == first else key: inner for key, inner in value.items()}
            yield "key added", {**value, "more": 1}
        case _:
            yield "something", "x"


def special(signed: Any, other: Any) -> Iterator[tuple[str, Any]]:
    """What somebody would try who knows how it works."""

    def with_signature(**changes: Any) -> Any:
        options = {**signed["options"], OPTION: {**signed["options"][OPTION], **changes}}
        return listed({**signed, "options": options})

    value = signed["options"][OPTION]["value"]
    raw = base64.b64decode(value)
    order = 2**252 + 27742317777372353535851937790883648493
    malleable = raw[:32] + (int.from_bytes(raw[32:], "little") + order).to_bytes(33, "little")[:32]
    yield "no signature", listed({**signed, "options": {}})
    yield "signature null", listed({**signed, "options": {**signed["options"], OPTION: None}})
    yield "transplanted", listed({**signed, "options": {**signed["options"], OPTION: other["options"][OPTION]}})
    yield "signed by a stranger", listed(sign(bare(signed), by=2))
    yield "stranger under our name", with_signature(value=sign(bare(signed), by=2)["options"][OPTION]["value"])
    yield "expired", listed(sign(bare(signed), expires=NOW))
    yield "for another purpose", listed(sign(bare(signed), purpose="test"))
    yield "prolonged", with_signature(expires="2099-01-01T00:00:00Z")
    yield "no end", with_signature(expires="")
    yield "padding dropped", with_signature(value=value.rstrip("="))
    yield "line added", with_signature(value=value + "\n")
    yield "url-safe", with_signature(value=base64.urlsafe_b64encode(b"\xfb" * 64).decode())
    yield "S plus the order", with_signature(value=base64.b64encode(malleable).decode())
    yield "zero", with_signature(value=base64.b64encode(bytes(64)).decode())
    yield "later version", with_signature(version=2)
    yield "version true", with_signature(version=True)
    yield "more terms", with_signature(note="x")
    yield "further pin", with_signature(pinned=["deploy_action"])
    for name in ("LD_PRELOAD", "BASH_ENV", "PATH", "deploy_extra"):
        further: JsonMap = {"name": name, "type": "String", "value": "x"}
        yield f"input {name} added", listed(signed, further)
    if signed["inputs"]:
        yield "declared twice", listed(signed, signed["inputs"][0])
        yield "undeclared", listed({**signed, "inputs": signed["inputs"][1:]})
    if pinned := signed["options"][OPTION].get("pinned"):
        inputs = [{**i, "value": "other"} if i["name"] in pinned else i for i in signed["inputs"]]
        yield "another pinned value", listed({**signed, "inputs": inputs})
        yield "pin given up", listed({**signed, "options": {**signed["options"], OPTION: without_pins(signed)}})


def bare(signed: Any) -> Any:
    return {**signed, "options": {name: v for name, v in signed["options"].items() if name != OPTION}}


def without_pins(signed: Any) -> Any:
    return {name: value for name, value in signed["options"][OPTION].items() if name != "pinned"}


def test_each_of_a_thousand_changes_is_refused() -> None:
    tried: dict[str, str] = {}
    for what, element in mutations():
        tried[json.dumps(element, sort_keys=True)] = f"{what}: {refusal(element) or 'ALLOWED'}"
        if len(tried) == MUTATIONS:
            break

    assert [] == [what for what in tried.values() if what.endswith("ALLOWED")]


def honest() -> Iterator[Any]:
    """Ways in which Heat, JSON and a deployment may present a signed config."""
    chance = random.Random(7)
    while True:
        element = listed(sign(chance.choice(CONFIGS)))
        pinned = element["options"][OPTION].get("pinned", [])  # type: ignore[index,call-overload,union-attr]
        for declared in element["inputs"]:  # type: ignore[union-attr]
            declared["description"] = "said by Heat"  # type: ignore[index,call-overload]
            if declared["name"] not in pinned:  # type: ignore[index,call-overload,operator]
                declared["value"] = chance.choice(["x", 7, None, [1], {"a": 1.5}, 2.5])  # type: ignore[index,call-overload]
        element.update(id=f"d{chance.random()}", name="other", creation_time="later")
        shuffled = json.loads(json.dumps(element), object_pairs_hook=lambda pairs: shuffle(chance, pairs))
        yield json.loads(json.dumps(shuffled, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 2])))


def shuffle(chance: random.Random, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(chance.sample(pairs, len(pairs)))


def test_each_of_fifty_honest_ways_is_allowed() -> None:
    ways = honest()

    assert [""] * HONEST == [refusal(next(ways)) for _ in range(HONEST)]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({**SCRIPT, "options": {"memory": 1.5}}, "not whole"),
        ({**FILES, "config": {"a": {"get_input": "b"}}}, "get_input"),
        ({**SCRIPT, "group": ""}, "no group"),
        ({**COMPONENT, "inputs": ["word"]}, "inputs hold text"),
        ({**SCRIPT, "outputs": [{"type": "String"}]}, "has no name"),
    ],
)
def test_what_would_not_arrive_as_it_was_signed_is_not_signed(config: JsonMap, why: str) -> None:
    with pytest.raises(TrustError, match=why):
        statement(config, Terms("key", "any", LATER))


@given(JSON_MAPS)
def test_whatever_is_listed_is_judged_without_a_crash(element: JsonMap) -> None:
    assert refusal(element)
    assert refusal({**sign(SCRIPT), **element}) is not None
    assert refusal(listed(SCRIPT) | {"options": {OPTION: element}})
