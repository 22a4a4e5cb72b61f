"""Our classes of values beside those of dataclasses: whatever one does with them, both say the same."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import dataclass as ours


def made_by(library: Any, *, frozen: bool = True) -> Any:
    @library.dataclass(frozen=frozen, slots=True)
    class Part:
        """A port of something."""

        name: str
        port: int = 80
        secret: str = library.field(default="", repr=False)
        note: str = library.field(default="", compare=False, metadata={"key": "web.note"})
        tags: list[str] = library.field(default_factory=list)

        @property
        def label(self) -> str:
            return f"{self.name}:{self.port}"

    return Part


OURS, THEIRS = made_by(ours), made_by(dataclasses)
BOTH = pytest.mark.parametrize("library", [ours, dataclasses], ids=["ours", "theirs"])
VALUES = {
    "name": st.text(max_size=3),
    "port": st.integers(0, 2),
    "secret": st.sampled_from(("", "x")),
    "note": st.sampled_from(("", "y")),
    "tags": st.lists(st.sampled_from("ab"), max_size=2),
}
GIVEN = st.fixed_dictionaries({"name": VALUES["name"]}, optional={k: v for k, v in VALUES.items() if k != "name"})


def said(act: Callable[[], object]) -> object:
    """What comes of it: the value, or the kind of error."""
    try:
        return act()
    except (TypeError, AttributeError) as exc:
        return TypeError if isinstance(exc, TypeError) else AttributeError


@given(GIVEN, GIVEN)
def test_values_are_shown_and_compared_as_those_of_dataclasses(one: dict[str, Any], other: dict[str, Any]) -> None:
    we, they = (OURS(**one), OURS(**other)), (THEIRS(**one), THEIRS(**other))

    assert repr(they[0]) == repr(we[0])
    assert (they[0] == they[1]) == (we[0] == we[1])
    assert we[0] != they[0]
    assert dataclasses.asdict(they[0]) == ours.asdict(we[0]) == dataclasses.asdict(we[0])
    assert they[0].label == we[0].label


@given(GIVEN, st.dictionaries(st.sampled_from([*VALUES, "unknown"]), st.integers(0, 2), max_size=3))
def test_another_value_has_the_changes_and_the_rest(one: dict[str, Any], changes: dict[str, Any]) -> None:
    expected = said(lambda: repr(dataclasses.replace(THEIRS(**one), **changes)))

    assert expected == said(lambda: repr(ours.replace(OURS(**one), **changes)))
    assert expected == said(lambda: repr(dataclasses.replace(OURS(**one), **changes)))


@given(st.lists(st.integers(0, 2), max_size=7), st.dictionaries(st.sampled_from([*VALUES, "x"]), st.integers(0, 2)))
def test_arguments_are_taken_in_order_and_by_name_each_once(args: list[int], named: dict[str, int]) -> None:
    assert said(lambda: repr(THEIRS(*args, **named))) == said(lambda: repr(OURS(*args, **named)))


@BOTH
def test_equal_values_have_one_hash_where_they_cannot_change(library: Any) -> None:
    frozen, loose = made_by(library), made_by(library, frozen=False)

    assert hash(frozen("a", tags=())) == hash(frozen("a", note="not compared", tags=()))
    assert TypeError is said(lambda: hash(frozen("a")))  # a list in it
    assert TypeError is said(lambda: hash(loose("a", tags=())))


@BOTH
def test_what_is_frozen_keeps_its_fields_and_nothing_has_others(library: Any) -> None:
    frozen, loose = made_by(library)("a"), made_by(library, frozen=False)("a")

    loose.port = 81

    assert ("a:80", "a:81") == (frozen.label, loose.label)
    assert AttributeError is said(lambda: setattr(frozen, "port", 81))
    assert AttributeError is said(lambda: delattr(frozen, "port"))
    assert AttributeError is said(lambda: setattr(loose, "other", 1))


@BOTH
def test_each_value_has_a_default_of_its_own(library: Any) -> None:
    part = made_by(library)

    part("a").tags.append("x")

    assert [] == part("b").tags


@BOTH
def test_fields_are_known_by_name_default_and_metadata(library: Any) -> None:
    part = made_by(library)

    known = {field.name: field for field in library.fields(part)}

    assert list(VALUES) == list(known) == [field.name for field in dataclasses.fields(part)]
    assert (80, "web.note", {}) == (known["port"].default, known["note"].metadata["key"], dict(known["name"].metadata))


@BOTH
def test_patterns_match_by_place(library: Any) -> None:
    part = made_by(library)

    match part("a", 81):
        case part(name, port):
            assert ("a", 81) == (name, port)
        case _:
            pytest.fail("no match")


@BOTH
def test_a_class_keeps_its_words(library: Any) -> None:
    part = made_by(library)

    assert ("Part", "A port of something.", __name__) == (part.__name__, part.__doc__, part.__module__)
    assert part.__qualname__.endswith("made_by.<locals>.Part")
