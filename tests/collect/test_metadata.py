"""What the sources said, together: one that is down keeps its last good document, in its place."""

import json
from itertools import chain, repeat
from pathlib import Path

import pytest

from agent import merge
from agent.journal import Journal
from agent.metadata import Metadata, places
from agent.settings import Given
from tests.fakes import Peer, Raw, Reply


def metadata(root: Path, peer: Peer) -> Metadata:
    """As an agent that has just been started knows it."""
    flags = {"collectors": "request,local", "request.metadata_url": f"{peer.url}/doc"}
    made = Metadata(Given(root, flags), lambda: 0.0)
    Journal(places(made.settings)).open()
    made.open()
    return made


def put(root: Path, **content: object) -> None:
    path = root / "var/lib/os-collect-config/local-data/site.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    "down", [Reply(503), Reply(200, b"<html>please sign in"), Reply(200, b"[]"), Reply(200, b"{}"), Raw()]
)
@pytest.mark.parametrize("restarted", [False, True], ids=["same-agent", "restarted"])
def test_a_source_that_is_down_keeps_its_document_and_its_place_while_others_change(
    root: Path, peer: Peer, down: Reply | Raw, restarted: bool
) -> None:
    peer.answers["/doc"] = [Reply(200, b'{"of": "request", "both": "request"}'), down]
    put(root, both="local")
    known = metadata(root, peer)
    known.collect()
    put(root, both="local", more=1)
    known = metadata(root, peer) if restarted else known

    answers = known.collect()

    assert answers["request"].fault
    assert answers["local"].changed
    assert ["request", "local"] == [document.source for document in known.standing()]
    assert {"of": "request", "both": "local", "more": 1} == merge.merge(known.standing())


def test_an_answer_without_a_validator_is_no_change_when_it_says_the_same(root: Path, peer: Peer) -> None:
    peer.answers["/doc"] = [Reply(200, b'{"a": 1, "b": 2}'), Reply(200, b'{"b": 2, "a": 1}'), Reply(200, b'{"a": 3}')]
    known = metadata(root, peer)

    assert [True, False, True] == [known.collect({"request"})["request"].changed for _ in range(3)]


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"], ids=["head", "body"])
def test_a_server_that_drips_is_left_at_the_deadline_and_the_others_are_asked(
    root: Path, peer: Peer, start: bytes
) -> None:
    peer.answers["/doc"] = Raw(chain([start], repeat(b"x")), pause_s=0.1)
    put(root, a=1)
    flags = {"total_timeout": "1", "collectors": "request,local", "request.metadata_url": f"{peer.url}/doc"}
    known = Metadata(Given(root, flags), lambda: 0.0)
    Journal(places(known.settings)).open()

    answers = known.collect()

    assert "no complete answer within 1 s" in str(answers["request"].fault)
    assert answers["local"].changed
