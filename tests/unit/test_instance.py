"""Whether two notes are of two machines, decided without a machine."""

from hypothesis import given
from hypothesis import strategies as st

from agent.instance import Note, is_other, swapped

UUIDS = st.uuids().map(str)
IDS = st.sampled_from(["", "i-1", "i-2"]) | UUIDS
NOTES = st.builds(Note, st.just("") | UUIDS, IDS)


@given(NOTES)
def test_a_machine_is_itself_and_the_unknown_proves_nothing(note: Note) -> None:
    assert not is_other(note, note)
    assert not is_other(note, Note())
    assert not is_other(Note(), note)


@given(NOTES, UUIDS)
def test_another_firmware_is_another_machine(note: Note, uuid: str) -> None:
    known = bool(note.machine) and uuid not in (note.machine, swapped(note.machine))

    assert known is is_other(note, Note(uuid, note.cloud))


@given(UUIDS)
def test_swapping_bytes_twice_gives_them_back(uuid: str) -> None:
    assert uuid == swapped(swapped(uuid))
    assert not is_other(Note(uuid), Note(swapped(uuid)))
