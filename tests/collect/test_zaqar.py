"""A queue: what is read is stored before it is deleted, and an empty one takes nothing away."""

import json
from pathlib import Path

import pytest

from agent import documents
from agent.collectors import zaqar
from agent.engine import Engine
from agent.errors import MetadataError, Refused, Unavailable
from agent.identity import Tokens
from agent.model import Document
from agent.settings import Given, Settings
from agent.transport import Client
from agent.view import ahead
from tests.collect.queue import NAME, RECORDED, SIGN_IN, Queue, messages
from tests.fakes import Reply

GOOD_AT = 1_795_220_000.0  # a minute in which the recorded token was good


@pytest.fixture
def settings(queue: Queue, root: Path) -> Settings:
    return Given(root).settings(queue.section())


@pytest.fixture
def tokens(client: Client) -> Tokens:
    return Tokens(client, lambda: GOOD_AT)


def poll(
    settings: Settings, client: Client, tokens: Tokens, previous: tuple[Document, ...] = ()
) -> tuple[Document, ...]:
    """Ask, and acknowledge as the engine does."""
    found = zaqar.collect(settings, client, tokens, previous)
    zaqar.acknowledge(settings, client, tokens, found)
    return found


def test_the_deployment_arrives_as_heat_posted_it(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens
) -> None:
    first, second = messages()
    queue.held = [first]
    empty = poll(settings, client, tokens)
    queue.held = [second]

    [document] = poll(settings, client, tokens, empty)

    assert zaqar.configured(settings)
    assert [] == empty[0].content["deployments"]
    assert RECORDED["document"] == document.content
    assert ("zaqar", "zaqar") == (document.source, document.name)
    assert [] == queue.held


def test_one_sign_in_serves_many_polls_and_an_idle_one_is_one_request(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens
) -> None:
    queue.held = messages()
    known = poll(settings, client, tokens)
    queue.requests.clear()

    for _ in range(3):
        known = poll(settings, client, tokens, known)

    assert ["GET echo=true&limit=20"] * 3 == queue.asked
    assert SIGN_IN["response"]["headers"]["X-Subject-Token"] == queue.requests[0].headers["x-auth-token"]
    assert RECORDED["bootstrap"]["zaqar"]["project_id"] == queue.requests[0].headers["x-project-id"]
    assert queue.requests[0].headers["client-id"]


def test_the_newest_of_many_messages_counts_and_all_are_deleted_oldest_first(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens
) -> None:
    queue.held = [{"id": f"m{number}", "body": {"number": number}} for number in range(45)]

    [document] = poll(settings, client, tokens)

    assert {"number": 44} == document.content
    assert [] == queue.held
    deleted = [asked.removeprefix("DELETE ids=").split(",") for asked in queue.asked if asked.startswith("DELETE")]
    assert [f"m{number}" for number in range(45)] == [name for names in deleted for name in names]


def test_nothing_is_deleted_before_the_document_is_kept(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens
) -> None:
    queue.held = messages()

    zaqar.collect(settings, client, tokens, ())

    assert 2 == len(queue.held)
    assert not [asked for asked in queue.asked if asked.startswith("DELETE")]


def test_an_empty_queue_says_nothing_new(queue: Queue, settings: Settings, client: Client, tokens: Tokens) -> None:
    queue.held = messages()
    known = poll(settings, client, tokens)

    same = poll(settings, client, tokens, known)

    assert [known[0].content, known[0].digest] == [same[0].content, same[0].digest]


def test_an_empty_queue_of_which_nothing_is_known_is_no_empty_document(
    settings: Settings, client: Client, tokens: Tokens
) -> None:
    with pytest.raises(Unavailable, match=f"polling the queue {NAME}: no message, and none was kept"):
        zaqar.collect(settings, client, tokens, ())


@pytest.mark.parametrize("body", ["text", [1], None, 5])
def test_a_message_that_is_no_document_is_dropped_and_the_others_count(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens, body: object
) -> None:
    queue.held = [{"id": "good", "body": {"a": 1}}, {"id": "bad", "body": body}]

    [document] = poll(settings, client, tokens)

    assert {"a": 1} == document.content
    assert [] == queue.held


def test_a_bad_message_alone_goes_and_the_last_document_stands(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens
) -> None:
    queue.held = [{"id": "good", "body": {"a": 1}}]
    known = poll(settings, client, tokens)
    queue.held = [{"id": "bad", "body": "text"}]

    [document] = poll(settings, client, tokens, known)

    assert {"a": 1} == document.content
    assert [] == queue.held


def test_a_token_that_is_no_longer_taken_is_renewed_once(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens
) -> None:
    queue.refused["GET"] = 401

    with pytest.raises(Refused):
        zaqar.collect(settings, client, tokens, ())

    assert ["POST", "GET", "POST", "GET"] == [request.method for request in queue.requests]


def test_where_nothing_may_be_listed_the_oldest_is_taken(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens
) -> None:
    queue.held = messages()
    queue.refused["GET"] = 403

    [document] = poll(settings, client, tokens)

    assert [] == document.content["deployments"]
    assert [messages()[1]] == queue.held
    assert "DELETE pop=1" == queue.asked[-1]


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"messages": 1}', b"{}"])
def test_an_answer_that_is_no_list_of_messages_is_named(
    queue: Queue, settings: Settings, client: Client, tokens: Tokens, body: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_list", lambda _query: Reply(200, body))

    with pytest.raises(MetadataError, match="reading the queue's messages"):
        zaqar.collect(settings, client, tokens, ())


def test_half_a_configuration_says_what_is_missing(client: Client, tokens: Tokens, root: Path) -> None:
    given = Given(root, {"zaqar.auth_url": "http://x/", "zaqar.user_id": "u"})

    with pytest.raises(Unavailable, match=r"zaqar\.password, zaqar\.project_id, zaqar\.queue_id not set"):
        zaqar.collect(given.settings(), client, tokens, ())


# ------------------------------------------------------------------------------------------------ the engine


@pytest.fixture
def engine(queue: Queue, root: Path) -> Engine:
    """An agent whose cloud-init brought the recorded section."""
    data = root / "var/lib/heat-cfntools/cfn-init-data"
    data.parent.mkdir(parents=True)
    data.write_text(json.dumps({"os-collect-config": queue.section()}))
    return new_engine(root)


def new_engine(root: Path) -> Engine:
    engine = Engine(Given(root), can_hold=False, clock=lambda: GOOD_AT)
    engine.open()
    return engine


def test_the_engine_deletes_a_message_only_when_it_is_on_disk(queue: Queue, engine: Engine) -> None:
    queue.held = [{"id": "m", "body": {"a": 1}}]
    stored: list[list[str]] = []
    answer = queue.answer

    def look(request: object) -> object:
        stored.append(sorted(path.name for path in engine.journal.places.documents.iterdir()))
        return answer(request)  # type: ignore[arg-type]

    queue.answer = look  # type: ignore[method-assign, assignment]

    engine.metadata.collect()

    assert ["POST", "GET echo=true&limit=20", "DELETE ids=m"] == queue.asked
    assert ["zaqar.json" in names for names in stored] == [False, False, True]


def test_a_message_whose_deletion_failed_is_deleted_at_the_next_poll(queue: Queue, engine: Engine) -> None:
    queue.held = [{"id": "m", "body": {"a": 1}}]
    queue.refused["DELETE"] = 503
    engine.metadata.collect()
    del queue.refused["DELETE"]

    answers = engine.metadata.collect()

    assert not answers["zaqar"].changed
    assert [] == queue.held


def test_the_last_message_survives_a_restart_and_an_empty_queue(queue: Queue, engine: Engine, root: Path) -> None:
    queue.held = [{"id": "m", "body": {"a": 1}}]
    engine.metadata.collect()

    again = new_engine(root)
    answers = again.metadata.collect()

    assert (False, None) == (answers["zaqar"].changed, answers["zaqar"].fault)
    assert {"a": 1} == again.metadata.documents["zaqar"][0].content
    assert [{"a": 1}] == [d.content for d in documents.kept(again.journal.places) if d.source == "zaqar"]


def test_looking_ahead_leaves_the_message_in_the_queue(queue: Queue, engine: Engine, root: Path) -> None:
    queue.held, queue.expires_at = [{"id": "m", "body": {"a": 1}}], "2199-01-01T00:00:00.000000Z"

    found = ahead.look(Given(root), fetch=True)

    assert (["m"], {}) == ([message["id"] for message in queue.held], dict(found.faults))
    assert "zaqar" in found.sources
    assert ["POST", "GET echo=true&limit=20"] == queue.asked
