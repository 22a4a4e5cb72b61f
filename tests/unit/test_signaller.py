"""The signal's body: whatever a hook printed, Heat gets a JSON object that it takes."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from agent.model import Credentials, Endpoint, Json, JsonMap, Outcome
from agent.signaller import BODY_LIMIT, cut, encode
from tests.unit.values import JSON, JSON_MAPS

HEATS_LIMIT = 1_048_576
CHARACTERS = st.sampled_from(["a", "é", "漢", "😀", "\x00", "\x1b", '"', "\\", "\n", "\ud800", "\u2028"])
LONG_TEXT = st.builds(
    lambda pattern, times, end: pattern * times + end,
    st.lists(CHARACTERS, min_size=1, max_size=4).map("".join),
    st.integers(0, 3000),
    st.text(max_size=20),
)


def test_a_small_body_is_sent_as_it_is() -> None:
    body = Outcome(3, "out\n", "é\n", {"greeting": "hello"}).body()

    assert body == json.loads(encode(body))


@pytest.mark.parametrize("body", [{}, {"deploy_status_code": None}, {"greeting": "x"}])
def test_a_body_always_says_how_it_went(body: JsonMap) -> None:
    assert 0 == json.loads(encode(body))["deploy_status_code"]


@given(JSON_MAPS, JSON)
def test_any_body_is_a_json_object_in_plain_ascii(body: JsonMap, status: Json) -> None:
    sent = json.loads(encode({**body, "deploy_status_code": status}).decode("ascii"))

    assert {**body, "deploy_status_code": 0 if status is None else status} == sent


@given(LONG_TEXT, LONG_TEXT, st.dictionaries(st.text(max_size=3), LONG_TEXT, max_size=3), st.integers(1500, 20_000))
@example("\x00" * 3000, "", {}, 1500)
@example("😀" * 3000, "\x1b" * 3000, {"a": "é" * 3000}, 1500)
def test_no_body_is_above_its_limit_and_the_status_stays(
    stdout: str, stderr: str, outputs: JsonMap, limit: int
) -> None:
    body = Outcome(7, stdout, stderr, outputs).body()

    sent = encode(body, limit)

    assert limit >= len(sent)
    assert 7 == json.loads(sent)["deploy_status_code"]
    assert set(body) == set(json.loads(sent))
    if len(json.dumps(body)) <= limit:
        assert body == json.loads(sent)


@pytest.mark.parametrize("character", ["a", "é", "😀", "\x00", '"'])
def test_a_huge_stream_keeps_its_head_and_its_tail_and_says_how_much_is_missing(character: str) -> None:
    body = Outcome(1, "the beginning " + character * 2_000_000 + " the end", "stderr", {"out": "small"}).body()

    sent = encode(body)

    told = json.loads(sent)
    assert BODY_LIMIT - 10_000 < len(sent) <= BODY_LIMIT < HEATS_LIMIT
    assert told["deploy_stdout"].startswith("the beginning ")
    assert told["deploy_stdout"].endswith(" the end")
    assert "characters cut here to stay below Heat's limit" in told["deploy_stdout"]
    assert ("stderr", "small") == (told["deploy_stderr"], told["out"])


def test_outputs_are_only_shortened_when_the_streams_are_gone() -> None:
    body = Outcome(0, "x" * 900_000, "y" * 900_000, {"large": "z" * 950_000, "small": "kept"}).body()

    told = json.loads(encode(body))

    assert body["large"] == told["large"]
    assert "kept" == told["small"]
    assert len(told["deploy_stdout"]) + len(told["deploy_stderr"]) < 60_000


def test_a_huge_map_of_an_output_is_shortened_as_text_rather_than_lost() -> None:
    body = Outcome(0, outputs={"map": {"a": ["x" * 100] * 20_000}}).body()

    told = json.loads(encode(body))

    assert told["map"].startswith('{"a": ["xxx')
    assert told["map"].endswith('xxx"]}')


def test_thousands_of_outputs_that_cannot_fit_are_a_failure_that_says_so() -> None:
    body: JsonMap = {f"output-{number}": "x" * 100 for number in range(20_000)}

    told = json.loads(encode({**body, "deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0}))

    assert 65 == told["deploy_status_code"]
    assert "20000 outputs are too many" in told["deploy_stderr"]


@given(LONG_TEXT, st.integers(0, 3000))
def test_a_cut_text_is_its_head_a_note_and_its_tail(text: str, limit: int) -> None:
    kept = cut(text, limit)

    if kept == text:
        return
    head, _, rest = kept.partition("\n[... ")
    note, _, tail = rest.partition(" ...]\n")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(text) == len(head) + len(tail) + int(note.split()[0])
    assert len(json.dumps(kept)) <= limit + 120


@pytest.mark.parametrize(
    ("endpoint", "waited_for"),
    [
        (Endpoint(), False),
        (Endpoint("NO_SIGNAL"), False),
        (Endpoint("NO_SIGNAL", url="http://x/"), False),
        (Endpoint("CFN_SIGNAL"), False),
        (Endpoint("CFN_SIGNAL", url="http://x/"), True),
        (Endpoint("HEAT_SIGNAL", credentials=Credentials("http://k/", "u", "p")), True),
    ],
)
def test_an_outcome_is_wanted_where_somebody_can_be_told(endpoint: Endpoint, waited_for: bool) -> None:
    assert waited_for == endpoint.wanted
