"""Documents become metadata: laws of the merge, lookup and blame."""

import copy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import merge, parse
from agent.model import Document, Json, JsonMap
from tests.unit.values import SCALARS

KEYS = st.sampled_from(["a", "b", "c"])
TREES = st.recursive(SCALARS | st.lists(SCALARS, max_size=2), lambda t: st.dictionaries(KEYS, t, max_size=3))
MAPS = st.dictionaries(KEYS, TREES, max_size=3)


def document(name: str, content: JsonMap) -> Document:
    return parse.document("local", content, name=name)


@given(MAPS)
def test_an_empty_document_changes_nothing_on_either_side(content: JsonMap) -> None:
    assert content == merge.merge_maps({}, content) == merge.merge_maps(content, {})


@given(MAPS, MAPS, MAPS)
def test_it_does_not_matter_which_two_of_three_are_merged_first_while_objects_meet_objects(
    one: JsonMap, two: JsonMap, three: JsonMap
) -> None:
    left = merge.merge_maps(merge.merge_maps(one, two), three)
    right = merge.merge_maps(one, merge.merge_maps(two, three))

    # A scalar in the middle hides what is below it from the left only: there the two differ by design.
    if not hides(one, two, three):
        assert left == right


def hides(one: Json, two: Json, three: Json) -> bool:
    """Whether somewhere a scalar of the middle document stands between two objects."""
    if not isinstance(one, dict) or not isinstance(three, dict):
        return False
    if not isinstance(two, dict):
        return True
    return any(key in two and hides(one[key], two[key], three[key]) for key in one.keys() & three.keys())


@given(MAPS, MAPS)
def test_the_later_document_wins(lower: JsonMap, upper: JsonMap) -> None:
    merged = merge.merge_maps(lower, upper)

    assert set(lower) | set(upper) == set(merged)
    for key, value in upper.items():
        if not isinstance(value, dict) or not isinstance(lower.get(key), dict):
            assert value == merged[key]
    assert merged == merge.merge_maps(merged, upper)


@given(st.lists(MAPS, max_size=3))
def test_merging_changes_no_document(contents: list[JsonMap]) -> None:
    before = copy.deepcopy(contents)

    merge.merge(document(str(number), content) for number, content in enumerate(contents))

    assert before == contents


def test_objects_are_merged_while_lists_scalars_and_nulls_are_replaced() -> None:
    lower = {"map": {"a": 1, "b": 1}, "list": [1, 2], "null": {"a": 1}, "only": 1}
    upper = {"map": {"b": 2, "c": 2}, "list": [3], "null": None}

    merged = merge.merge([document("low", lower), document("up", upper)])

    assert {"map": {"a": 1, "b": 2, "c": 2}, "list": [3], "null": None, "only": 1} == merged


@pytest.mark.parametrize(
    ("path", "value"), [("a", {"b": [10, {"c": None}]}), ("a.b.0", 10), ("a.b.1.c", None), ("7", "seven")]
)
def test_a_dotted_path_goes_through_objects_and_lists(path: str, value: Json) -> None:
    assert value == merge.lookup({"a": {"b": [10, {"c": None}]}, "7": "seven"}, path)


@pytest.mark.parametrize(
    ("path", "part"), [("x", "x"), ("a.x", "x"), ("a.b.2", "2"), ("a.b.-1", "-1"), ("a.b.0.c", "c"), ("", "''")]
)
def test_a_path_that_leads_nowhere_names_the_part_that_is_missing(path: str, part: str) -> None:
    with pytest.raises(KeyError) as caught:
        merge.lookup({"a": {"b": [10, {"c": None}]}}, path)

    assert part.strip("'") == caught.value.args[0]


def test_the_last_document_that_has_a_path_is_to_blame() -> None:
    documents = [document("one", {"a": {"b": 1}}), document("two", {"a": {"b": 2}}), document("three", {"a": {}})]

    assert ("two", "one", "") == (
        merge.blame(documents, "a.b"),
        merge.blame(documents[:1], "a.b"),
        merge.blame(documents, "x"),
    )


@given(st.lists(MAPS, max_size=4))
def test_the_document_to_blame_holds_the_merged_value(contents: list[JsonMap]) -> None:
    documents = [document(str(number), content) for number, content in enumerate(contents)]
    merged = merge.merge(documents)

    for key, value in merged.items():
        if not isinstance(value, dict):
            assert value == contents[int(merge.blame(documents, key))][key]
