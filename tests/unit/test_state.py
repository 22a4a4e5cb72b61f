"""The journal on disk: the progress table of agent/journal.py row by row, corrupt files, failing writes, pruning."""

import errno
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import documents, model, parse, state
from agent.errors import Busy, StateError
from agent.journal import Journal, standing
from agent.model import Json, Outcome
from agent.state import Places
from tests.unit.values import deployment

NOW = 1_000_000.0
DONE = Outcome(0, "out\n", "", {"greeting": "hello"}).body()


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "state", tmp_path / "deployed")


@pytest.fixture
def journal(places: Places) -> Journal:
    return opened(places)


def opened(places: Places, now: float = NOW) -> Journal:
    """The journal of an agent that just started."""
    made = Journal(places, lambda: now)
    made.open()
    return made


# ------------------------------------------------------------------------------------- the table, row by row


@pytest.mark.parametrize("again", [False, True], ids=["at once", "after a restart"])
@pytest.mark.parametrize(
    ("record", "mark", "outcome", "locked", "progress"),
    [
        (None, False, False, False, model.UNKNOWN),
        (model.RECEIVED, False, False, False, model.RECEIVED),
        (model.RECEIVED, True, False, True, model.RUNNING),
        (model.RECEIVED, True, False, False, model.INTERRUPTED),
        (model.RECEIVED, True, True, False, model.FINISHED),
        (model.RECEIVED, True, True, True, model.FINISHED),
        (model.SIGNALLED, True, True, False, model.SIGNALLED),
        (model.REFUSED, True, True, False, model.REFUSED),
        (model.SUPERSEDED, True, True, False, model.SUPERSEDED),
        (model.SIGNALLED, True, False, False, model.SIGNALLED),
        (None, True, False, False, model.FOREIGN),
        (None, True, True, False, model.FOREIGN),
        (model.SIGNALLED, False, True, False, model.UNKNOWN),
        (model.SIGNALLED, False, False, False, model.UNKNOWN),
    ],
)
def test_progress_follows_from_which_files_exist(
    places: Places,
    journal: Journal,
    record: str | None,
    mark: bool,
    outcome: bool,
    locked: bool,
    progress: str,
    again: bool,
) -> None:
    if record:
        state.write(places.journal / "d1.json", json.dumps({"state": record, "id": "d1"}).encode())
    if mark:
        state.write(places.mark("d1"), b"")
    if outcome:
        state.write(places.outcome("d1"), json.dumps(DONE).encode())
    runner = state.try_lock(journal.lock_path("d1")) if locked else None

    found = opened(places).entry("d1")
    if again:
        found = opened(places).entry("d1")

    assert progress == found.progress
    if runner:
        runner.release()


def test_one_deployment_goes_through_its_life_in_order(places: Places, journal: Journal) -> None:
    d1 = deployment("d1")
    seen = [journal.entry("d1").progress]

    journal.received(d1)
    seen.append(journal.entry("d1").progress)
    journal.begin(d1)
    seen.append(journal.entry("d1").progress)
    journal.finish("d1", DONE)
    seen.append(journal.entry("d1").progress)
    journal.settle("d1", model.SIGNALLED)
    seen.append(journal.entry("d1").progress)

    assert [model.UNKNOWN, model.RECEIVED, model.RUNNING, model.FINISHED, model.SIGNALLED] == seen
    assert model.SIGNALLED == opened(places).entry("d1").progress
    assert DONE == journal.outcome("d1")


def test_what_was_begun_and_has_no_runner_was_interrupted(places: Places, journal: Journal) -> None:
    journal.begin(deployment("d1"))

    assert model.INTERRUPTED == opened(places).entry("d1").progress


def test_the_mark_is_what_the_old_tools_wrote(places: Places, journal: Journal) -> None:
    d1 = deployment("d1")

    journal.begin(d1)

    assert d1.raw == json.loads(places.mark("d1").read_text())


def test_a_record_tells_where_a_deployment_came_from_and_no_secret(journal: Journal) -> None:
    journal.received(deployment("d1", source="heat"))

    record = journal.record("d1")

    assert ("d1", "web", "script", "heat", NOW) == tuple(
        record[name] for name in ("id", "name", "group", "source", "received_at")
    )
    assert not {"config", "inputs", "deploy_signal_id"} & set(record)


def test_a_second_reception_keeps_the_time_of_the_first(places: Places, journal: Journal) -> None:
    journal.received(deployment("d1"))

    later = opened(places, NOW + 100)
    later.received(deployment("d1"))

    assert NOW == later.entry("d1").received_at


def test_a_failed_try_is_counted_and_the_next_one_dated(places: Places, journal: Journal) -> None:
    journal.begin(deployment("d1"))
    journal.finish("d1", DONE)

    journal.tried("d1", "no answer", NOW + 1)
    journal.tried("d1", "still none", NOW + 3)

    found = opened(places).entry("d1")
    assert (model.FINISHED, 2, NOW + 3, "still none") == (
        found.progress,
        found.tries,
        found.next_try_at,
        found.reason,
    )


def test_removing_the_mark_forces_a_rerun_that_forgets_the_old_outcome(places: Places, journal: Journal) -> None:
    d1 = deployment("d1")
    journal.begin(d1)
    journal.finish("d1", DONE)
    journal.settle("d1", model.SIGNALLED)

    places.mark("d1").unlink()
    journal.rescan()
    assert model.UNKNOWN == journal.entry("d1").progress
    journal.begin(d1)

    assert not places.outcome("d1").exists()
    assert model.INTERRUPTED == opened(places).entry("d1").progress


def test_a_mark_that_the_old_tools_make_while_we_run_is_noticed(places: Places, journal: Journal) -> None:
    assert model.UNKNOWN == journal.entry("d1").progress

    places.mark("d1").touch()
    journal.rescan()

    assert model.FOREIGN == journal.entry("d1").progress


def test_an_outcome_that_a_door_could_not_deliver_is_ours_to_send(places: Places, journal: Journal) -> None:
    places.mark("d1").touch()

    journal.keep_unsent(deployment("d1"), DONE, "no answer")

    assert (model.FINISHED, 1) == (opened(places).entry("d1").progress, opened(places).entry("d1").tries)


# ------------------------------------------------------------------------------------------- what is damaged


@pytest.mark.parametrize("damage", [b"", b"\0" * 100, b'{"state": "sig', b"[]", b"\xff", b"[" * 100_000])
def test_a_record_that_cannot_be_read_is_moved_aside_and_its_hook_never_run_again(
    places: Places, journal: Journal, damage: bytes
) -> None:
    journal.begin(deployment("d1"))
    journal.finish("d1", DONE)
    (places.journal / "d1.json").write_bytes(damage)

    found = opened(places).entry("d1")

    assert found.progress not in (model.UNKNOWN, model.RECEIVED)
    assert damage == (places.journal / "d1.json.corrupt").read_bytes()


@pytest.mark.parametrize("damage", [b"", b'{"deploy_st', b"[]"])
def test_an_outcome_that_cannot_be_read_counts_as_interrupted(places: Places, journal: Journal, damage: bytes) -> None:
    journal.begin(deployment("d1"))
    journal.finish("d1", DONE)
    places.outcome("d1").write_bytes(damage)

    assert model.INTERRUPTED == opened(places).entry("d1").progress
    assert damage == places.outcome("d1").with_name("d1.notify.json.corrupt").read_bytes()


def test_a_stored_document_comes_back_and_a_damaged_one_is_moved_aside(places: Places, journal: Journal) -> None:
    kept = parse.document("request", {"a": 1}, name="../x é", fetched_at=NOW, validator={"etag": "e"})
    documents.keep(places, kept)
    (places.documents / "broken.json").write_text('{"source": "x"}')

    assert (kept,) == documents.kept(places)
    assert {"broken.json.corrupt"} == {p.name for p in places.documents.iterdir()} - {
        p.name for p in places.documents.glob("*.json")
    }


def test_a_forgotten_document_is_gone_and_may_be_forgotten_twice(places: Places, journal: Journal) -> None:
    documents.keep(places, parse.document("local", {}, name="a.json"))

    documents.forget(places, "a.json")
    documents.forget(places, "a.json")

    assert () == documents.kept(places)


# ---------------------------------------------------------------------------------------------------- writing


def test_a_file_is_for_us_alone_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a long old content")
    path.chmod(0o644)

    state.write(path, b"new")

    assert (b"new", 0o600) == (path.read_bytes(), stat.S_IMODE(path.stat().st_mode))
    assert [path] == list(tmp_path.iterdir())


def test_directories_are_for_us_alone(places: Places, journal: Journal) -> None:
    for directory in (places.state, places.journal, places.locks, places.documents, places.deployed):
        assert 0o700 == stat.S_IMODE(directory.stat().st_mode)


class Failing:
    """A disk on which one system call fails from now on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch

    def at(self, call: str, number: int) -> None:
        def fail(*_arguments: object, **_named: object) -> None:
            raise OSError(number, os.strerror(number))

        self._monkeypatch.setattr(os, call, fail)


@pytest.fixture
def disk() -> Iterator[Failing]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Failing(monkeypatch)


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EROFS, "mount it read-write"),
        (errno.EIO, "look at the disk"),
        (errno.EDQUOT, "raise the quota"),
    ],
)
def test_a_write_that_fails_says_what_to_do_and_leaves_the_old_content_alone(
    tmp_path: Path, disk: Failing, call: str, number: int, advice: str
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    disk.at(call, number)

    with pytest.raises(StateError, match=advice):
        state.write(path, b"new")

    assert b"old" == path.read_bytes()
    assert [path] == list(tmp_path.iterdir())


def test_content_is_durable_before_it_has_its_name_and_the_name_before_we_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def seen_fsync(fd: int) -> None:
        order.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "content")
        fsync(fd)

    def seen_rename(*arguments: str, **named: int) -> None:
        order.append("name")
        rename(*arguments, **named)

    monkeypatch.setattr(os, "fsync", seen_fsync)
    monkeypatch.setattr(os, "rename", seen_rename)
    state.write(tmp_path / "file", b"new")

    assert ["content", "name", "directory"] == order


def test_a_directory_that_is_gone_is_a_state_error(tmp_path: Path) -> None:
    with pytest.raises(StateError, match=r"writing .*/gone/file: No such file"):
        state.write(tmp_path / "gone/file", b"")


def test_a_mark_that_cannot_be_written_is_no_beginning(places: Places, journal: Journal, disk: Failing) -> None:
    d1 = deployment("d1")
    journal.received(d1)
    disk.at("fsync", errno.ENOSPC)

    with pytest.raises(StateError, match="no deployment is begun before that"):
        journal.begin(d1)

    assert model.RECEIVED == journal.entry("d1").progress


def test_what_a_power_cut_left_half_written_is_cleared(places: Places, journal: Journal) -> None:
    left = [
        places.journal / ".d1.json.77.tmp",
        places.deployed / ".d1.json.77.tmp",
        places.documents / ".cfn.json.77.tmp",
    ]
    for path in left:
        path.write_text("half")

    opened(places)

    assert [] == [path for path in left if path.exists()]


# -------------------------------------------------------------------------------------------------- pruning

DAY = 86400.0


def left(places: Places, key: str, at: float) -> None:
    """A settled entry that was last listed at `at`."""
    earlier = opened(places, at)
    earlier.begin(deployment(key))
    earlier.finish(key, DONE)
    earlier.settle(key, model.SIGNALLED)
    earlier.note_listed(frozenset({"listed"}))


def test_what_left_the_metadata_long_ago_is_forgotten_with_all_its_files(places: Places) -> None:
    left(places, "old", NOW - 100 * DAY)
    left(places, "young", NOW - 10 * DAY)
    left(places, "listed", NOW - 100 * DAY)
    journal = opened(places)

    gone = journal.prune(older_than_s=90 * DAY, at_most=10)

    assert ("old",) == gone
    assert {"young", "listed"} == set(journal.entries()) == set(opened(places).entries())
    assert {"young.json", "young.notify.json", "listed.json", "listed.notify.json"} == {
        path.name for path in places.deployed.iterdir()
    }


def test_what_comes_back_is_kept_from_then_on(places: Places) -> None:
    left(places, "back", NOW - 100 * DAY)
    journal = opened(places)
    journal.note_listed(frozenset({"back"}))

    assert () == journal.prune(older_than_s=90 * DAY, at_most=0)


def test_too_many_entries_are_forgotten_oldest_first(places: Places) -> None:
    for age, key in enumerate(("a", "b", "c", "d")):
        left(places, key, NOW - age)
    journal = opened(places)

    assert {"c", "d"} == set(journal.prune(older_than_s=90 * DAY, at_most=2))
    assert {"a", "b"} == set(journal.entries())


def test_what_runs_or_waits_to_be_sent_is_never_forgotten(places: Places) -> None:
    earlier = opened(places, NOW - 1000 * DAY)
    earlier.begin(deployment("interrupted"))
    earlier.begin(deployment("finished"))
    earlier.finish("finished", DONE)
    earlier.note_listed(frozenset())
    journal = opened(places)

    assert () == journal.prune(older_than_s=0.0, at_most=0)
    assert {"interrupted", "finished"} == set(journal.entries())


# ---------------------------------------------------------------------------------------------------- locks


def test_a_lock_is_had_once_and_tells_who_holds_it(places: Places) -> None:
    held = state.lock(places.agent_lock, "agent run")

    with pytest.raises(Busy, match=rf"agent run \(pid {os.getpid()}\) holds it; stop that one, or wait"):
        state.lock(places.agent_lock, "agent --once", wait_s=0.0)

    held.release()
    state.lock(places.agent_lock, "agent --once", wait_s=0.0).release()


def test_a_lock_is_waited_for_in_short_sleeps(places: Places) -> None:
    held = state.lock(places.agent_lock, "agent run")
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        held.release()

    state.lock(places.agent_lock, "agent --once", sleep=sleep).release()

    assert [0.1] == slept


@pytest.mark.parametrize("content", [b"", b"nonsense", b"[]"])
def test_a_lock_file_of_nobody_tells_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)

    assert {} == state.holder_of(path) == state.holder_of(tmp_path / "absent")


def test_a_runner_that_ends_while_it_is_looked_at_was_not_interrupted() -> None:
    stored: dict[str, Json] = {}

    def running(_key: str) -> bool:
        stored["deploy_status_code"] = 0
        return False

    entry = standing("web", {"state": model.RECEIVED}, begun=True, outcome=lambda _key: dict(stored), running=running)

    assert model.FINISHED == entry.progress
