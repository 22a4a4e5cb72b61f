"""Blocks in a file: put in once, taken out without a trace."""

from hypothesis import given
from hypothesis import strategies as st

from agent.apply import blocks

TEXTS = st.text("ab#\n", max_size=12).map(str.encode)
NAMES = st.sampled_from(["web", "stack/1/web", "a.*b", "web2"])


@given(TEXTS, NAMES, TEXTS, TEXTS)
def test_a_block_is_there_once_whatever_it_was_before(old: bytes, name: str, before: bytes, body: bytes) -> None:
    once = blocks.put(old, name, body)

    assert once == blocks.put(once, name, body)
    assert once == blocks.put(blocks.put(old, name, before), name, body)


@given(TEXTS, NAMES, TEXTS)
def test_what_is_taken_out_leaves_what_was_there_but_for_a_last_line_end(old: bytes, name: str, body: bytes) -> None:
    placed = blocks.put(old, name, body)

    found = blocks.without(placed, [blocks.print_of(placed, name)])

    assert found in (old, old + b"\n")


@given(TEXTS, TEXTS, TEXTS)
def test_blocks_of_two_documents_leave_each_other_alone(old: bytes, one: bytes, other: bytes) -> None:
    first = blocks.put(old, "web", one)
    both = blocks.put(first, "web2", other)

    assert blocks.print_of(first, "web") == blocks.print_of(both, "web")
    assert first == blocks.without(both, [blocks.print_of(both, "web2")])
    assert blocks.put(old, "web2", other) == blocks.without(both, [blocks.print_of(both, "web")])


@given(TEXTS, NAMES, TEXTS)
def test_a_block_that_somebody_changed_is_not_taken_out(old: bytes, name: str, body: bytes) -> None:
    placed = blocks.put(old, name, body)
    known = blocks.print_of(placed, name)

    changed = placed.replace(b"begin of", b"(mine) begin of")

    assert blocks.without(changed, [known]) is None
