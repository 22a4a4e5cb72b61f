"""What every journal does: the one on disk, and the one in memory that the properties stand on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from agent import model, parse, state
from agent.errors import MetadataError
from agent.journal import Journal
from agent.model import Deployment, Entry, Outcome
from agent.state import Places
from tests.fakes import MemoryJournal

DONE = Outcome(0, "out\n", "", {"greeting": "hello"}).body()
AnyJournal: TypeAlias = "Journal | MemoryJournal"


def deployment(identity: str = "d1") -> Deployment:
    content = {"deployments": [{"id": identity, "name": "web", "group": "script", "config": "x"}]}
    return parse.deployments(parse.document("cfn", content)).deployments[0]  # type: ignore[arg-type]


@pytest.fixture(params=["disk", "memory"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], AnyJournal]:
    """The journal of an agent that starts; each call is a restart, and the runners of the one before are dead."""
    places = Places(tmp_path / "state", tmp_path / "deployed")
    memory = MemoryJournal(places, lambda: 7.0)

    def start() -> AnyJournal:
        if request.param == "memory":
            memory.locked.clear()
            return memory
        made = Journal(places, lambda: 7.0)
        made.open()
        return made

    return start


def seen(entry: Entry) -> tuple[Any, ...]:
    return entry.progress, entry.id, entry.source, entry.received_at, entry.tries, entry.next_try_at, entry.reason


def lived(journal: AnyJournal, *arrows: str) -> Entry:
    acts: dict[str, Callable[[], None]] = {
        "received": lambda: journal.received(deployment()),
        "begin": lambda: journal.begin(deployment()),
        "finish": lambda: journal.finish("d1", DONE),
        "tried": lambda: journal.tried("d1", "no answer", 9.0),
        "signalled": lambda: journal.settle("d1", model.SIGNALLED),
        "superseded": lambda: journal.settle("d1", model.SUPERSEDED, "it left"),
    }
    for arrow in arrows:
        acts[arrow]()
    return journal.refresh("d1")


LIVES: list[tuple[str, tuple[Any, ...]]] = [
    ("", (model.UNKNOWN, "", "", 0.0, 0, 0.0, "")),
    ("received", (model.RECEIVED, "d1", "cfn", 7.0, 0, 0.0, "")),
    ("received received", (model.RECEIVED, "d1", "cfn", 7.0, 0, 0.0, "")),
    ("begin", (model.INTERRUPTED, "d1", "cfn", 7.0, 0, 0.0, "")),
    ("begin finish", (model.FINISHED, "d1", "cfn", 7.0, 0, 0.0, "")),
    ("begin finish tried tried", (model.FINISHED, "d1", "cfn", 7.0, 2, 9.0, "no answer")),
    ("begin finish tried signalled", (model.SIGNALLED, "d1", "cfn", 7.0, 1, 9.0, "")),
    ("begin finish superseded", (model.SUPERSEDED, "d1", "cfn", 7.0, 0, 0.0, "it left")),
]


@pytest.mark.parametrize(("arrows", "entry"), LIVES, ids=[arrows or "nothing" for arrows, _ in LIVES])
def test_an_entry_says_how_far_a_deployment_got(
    make: Callable[[], AnyJournal], arrows: str, entry: tuple[Any, ...]
) -> None:
    now = lived(make(), *arrows.split())
    later = make()

    assert entry == seen(later.entry("d1"))
    assert (entry == seen(now)) or now.progress == model.RUNNING
    assert ({"d1"} if arrows else set()) >= set(later.entries()) - {"d1"}


def test_an_outcome_comes_back_as_it_was_stored(make: Callable[[], AnyJournal]) -> None:
    lived(make(), "begin", "finish")

    assert DONE == make().outcome("d1")


def test_an_outcome_that_was_never_stored_is_an_error_of_ours(make: Callable[[], AnyJournal]) -> None:
    with pytest.raises(MetadataError, match="reading the outcome"):
        make().outcome("d1")


def test_a_second_beginning_forgets_the_first_outcome(make: Callable[[], AnyJournal]) -> None:
    lived(make(), "begin", "finish")

    lived(journal := make(), "begin")

    with pytest.raises(MetadataError):
        journal.outcome("d1")


def test_a_deployment_whose_runner_lives_is_running(tmp_path: Path) -> None:
    places = Places(tmp_path / "state", tmp_path / "deployed")
    disk, memory = Journal(places, lambda: 7.0), MemoryJournal(places, lambda: 7.0)
    disk.open()
    runner = state.try_lock(disk.lock_path("d1"))
    assert runner is not None

    disk.begin(deployment())
    memory.begin(deployment())

    assert disk.running("d1")
    assert memory.running("d1")
    assert seen(disk.refresh("d1")) == seen(memory.refresh("d1")) == (model.RUNNING, "d1", "cfn", 7.0, 0, 0.0, "")
    runner.release()
