"""Each collector against a peer that replays what a real Heat said, or against files of a guest."""

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from agent.collectors import COLLECTORS
from agent.errors import AgentError, MetadataError, Refused, Unavailable
from agent.identity import EARLY_S, Tokens
from agent.model import Document
from agent.settings import Given, Settings
from agent.transport import Client
from tests.conftest import CHECKOUT
from tests.fakes import Peer, Raw, Reply

RECORDED = CHECKOUT / "tests/fixtures/heat"


def recorded(name: str) -> Any:
    return json.loads((RECORDED / f"{name}.json").read_text("utf-8"))


EXCHANGES, BOOTSTRAPS, DOCUMENTS = recorded("exchanges"), recorded("bootstraps"), recorded("documents")
HEAT, CFN, REQUEST = (
    "poll_server_heat+heat_signal",
    "poll_server_cfn+cfn_signal",
    "poll_temp_url+temp_url_signal",
)


def moved(text: str, peer: Peer) -> str:
    """A recorded text with the lab's services at the peer."""
    for port in (35000, 35001, 35004, 35080, 35088):
        text = text.replace(f"http://127.0.0.1:{port}", peer.url)
    return text


def replay(peer: Peer, conversation: str) -> None:
    """Say at each path what was recorded there, the last answer for ever."""
    said: dict[str, list[Reply | Raw]] = {}
    for exchange in EXCHANGES[conversation]:
        if exchange["request"]["method"] == "HEAD" or exchange["note"] == "signal":
            continue
        answer = exchange["response"]
        reply = Reply(answer["status"], moved(answer["body"], peer).encode(), answer["headers"])
        said.setdefault(urlsplit(exchange["request"]["url"]).path, []).append(reply)
    peer.answers |= said


def configured(peer: Peer, conversation: str, root: Path, **flags: str) -> Settings:
    """The settings of a guest that cloud-init brought the recorded section."""
    return Given(root, flags).settings(json.loads(moved(json.dumps(BOOTSTRAPS[conversation]), peer)))


@pytest.fixture
def collect(client: Client) -> Callable[..., tuple[Document, ...]]:
    tokens = Tokens(client, lambda: 1_795_220_000.0)  # a minute in which the recorded tokens were good

    def act(name: str, settings: Settings, previous: tuple[Document, ...] = ()) -> tuple[Document, ...]:
        found: tuple[Document, ...] = COLLECTORS[name].collect(settings, client, tokens, previous)
        return found

    return act


Collect = Callable[..., tuple[Document, ...]]


# ------------------------------------------------------------------------------------------ what Heat recorded


@pytest.mark.parametrize(
    ("name", "conversation"), [("heat", HEAT), ("cfn", CFN), ("request", REQUEST)], ids=["heat", "cfn", "request"]
)
def test_the_deployment_arrives_as_heat_sent_it(
    peer: Peer, collect: Collect, root: Path, name: str, conversation: str
) -> None:
    replay(peer, conversation)
    settings = configured(peer, conversation, root)

    [empty] = collect(name, settings)
    [document] = collect(name, settings, (empty,))

    assert COLLECTORS[name].configured(settings)
    assert [] == empty.content["deployments"]
    assert json.loads(moved(json.dumps(DOCUMENTS[conversation]), peer)) == document.content
    assert (name, name) == (document.source, document.name)
    assert empty.digest != document.digest


def test_heat_is_signed_in_to_once_for_many_polls(peer: Peer, collect: Collect, root: Path) -> None:
    replay(peer, HEAT)
    settings = configured(peer, HEAT, root)

    for _ in range(4):
        collect("heat", settings)

    assert ["POST", "GET", "GET", "GET", "GET"] == [request.method for request in peer.requests]
    recorded_body = EXCHANGES[HEAT][0]["request"]["body"]
    assert json.loads(recorded_body) == json.loads(peer.requests[0].body)
    assert EXCHANGES[HEAT][0]["response"]["headers"]["X-Subject-Token"] == peer.requests[1].headers["x-auth-token"]


def test_a_token_is_renewed_shortly_before_it_ends(peer: Peer, client: Client, root: Path) -> None:
    replay(peer, HEAT)
    now = [1_795_220_000.0]
    tokens = Tokens(client, lambda: now[0])
    settings = configured(peer, HEAT, root)

    for left_s in (3600, EARLY_S + 1, EARLY_S - 1):
        ends_at = json.loads(EXCHANGES[HEAT][0]["response"]["body"])["token"]["expires_at"]
        now[0] = datetime.fromisoformat(ends_at.replace("Z", "+00:00")).timestamp() - left_s
        COLLECTORS["heat"].collect(settings, client, tokens, ())

    assert ["POST", "GET", "GET", "POST", "GET"] == [request.method for request in peer.requests]


def test_a_token_that_heat_no_longer_takes_is_renewed_once(peer: Peer, collect: Collect, root: Path) -> None:
    replay(peer, HEAT)
    [path] = [path for path in peer.answers if path.endswith("/metadata")]
    peer.answers[path] = [Reply(401, b"Unauthorized"), *peer.answers[path]]  # type: ignore[misc, list-item]

    collect("heat", configured(peer, HEAT, root))

    assert ["POST", "GET", "POST", "GET"] == [request.method for request in peer.requests]


def test_a_user_that_heat_does_not_know_is_not_hammered(peer: Peer, collect: Collect, root: Path) -> None:
    replay(peer, HEAT)
    [path] = [path for path in peer.answers if path.endswith("/metadata")]
    peer.answers[path] = Reply(401)

    with pytest.raises(Refused):
        collect("heat", configured(peer, HEAT, root))

    assert 4 == len(peer.requests)


def test_a_refused_sign_in_says_whose_and_what_it_may_mean(peer: Peer, collect: Collect, root: Path) -> None:
    peer.answers["/v3/auth/tokens"] = Reply(401, b"no")
    settings = configured(peer, HEAT, root)

    with pytest.raises(Refused, match=rf"signing in as user {settings.heat_user_id}.*its stack is gone") as caught:
        collect("heat", settings)

    assert settings.heat_password not in str(caught.value)


def test_a_cfn_poll_is_signed_and_never_names_the_secret(peer: Peer, collect: Collect, root: Path) -> None:
    replay(peer, CFN)
    settings = configured(peer, CFN, root)

    collect("cfn", settings)

    query = parse_qs(peer.requests[0].query)
    assert set(parse_qs(urlsplit(EXCHANGES[CFN][0]["request"]["url"]).query)) == set(query)
    assert [settings.cfn_access_key_id] == query["AWSAccessKeyId"]
    assert settings.cfn_secret_access_key not in str(peer.requests)


@pytest.mark.parametrize(
    ("note", "error"),
    [("wrong secret", Refused), ("wrong access key", Unavailable), ("not signed", Refused), ("no such stack", Refused)],
)
def test_what_heat_answers_to_a_faulty_cfn_poll_is_an_error_of_ours(
    peer: Peer, collect: Collect, root: Path, note: str, error: type[AgentError]
) -> None:
    answer = next(e["response"] for e in EXCHANGES["odd requests, cfn"] if e["note"] == note)
    peer.answers["/v1/"] = Reply(answer["status"], answer["body"].encode())

    with pytest.raises(error, match=f"answered {answer['status']}") as caught:
        collect("cfn", configured(peer, CFN, root))

    assert "Signature" not in str(caught.value).partition("answered")[0]


def test_an_xml_declaration_changes_nothing(peer: Peer, collect: Collect, root: Path) -> None:
    replay(peer, CFN)
    settings = configured(peer, CFN, root)
    plain = collect("cfn", settings)
    for path, replies in peer.answers.items():
        last = replies[-1] if isinstance(replies, list) else replies
        assert isinstance(last, Reply)
        declared = b'<?xml version="1.0" encoding="UTF-8"?>\n' + last.body
        peer.answers[path] = Reply(200, declared)

    assert plain[0].content.keys() == collect("cfn", settings)[0].content.keys()


def test_a_cfn_path_may_lead_below_the_metadata_and_later_paths_win(peer: Peer, collect: Collect, root: Path) -> None:
    replay(peer, CFN)
    settings = configured(peer, CFN, root, **{"cfn.path": "server.Metadata,server.Metadata.os-collect-config.cfn"})

    [document] = collect("cfn", settings)

    assert settings.cfn_access_key_id == document.content["access_key_id"]
    assert "deployments" in document.content


@pytest.mark.parametrize(
    "path", ["server", "server.Metadata.nowhere", "server.StackName", ".Metadata", "server.Nothing"]
)
def test_a_cfn_path_that_leads_nowhere_is_named(peer: Peer, collect: Collect, root: Path, path: str) -> None:
    replay(peer, CFN)

    with pytest.raises(MetadataError):
        collect("cfn", configured(peer, CFN, root, **{"cfn.path": path}))


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"{}", b"<a><b></a>", b"\xff\xfe", b'<!DOCTYPE a [<!ENTITY x "y">]><a>&x;</a>'],
    ids=["empty", "cut", "json", "crossed", "binary", "entity"],
)
def test_a_cfn_answer_that_is_not_heats_is_unusable(peer: Peer, collect: Collect, root: Path, body: bytes) -> None:
    peer.answers["/v1/"] = Reply(200, body)

    with pytest.raises(MetadataError, match="polling the CFN API"):
        collect("cfn", configured(peer, CFN, root))


@pytest.mark.parametrize("name", ["heat", "cfn"])
def test_half_a_configuration_says_what_is_missing(client: Client, collect: Collect, root: Path, name: str) -> None:
    flags = {"heat.auth_url": "http://x/", "cfn.metadata_url": "http://x/", "cfn.path": "s.Metadata"}

    with pytest.raises(Unavailable, match=rf"{name}\.\w+.* not set"):
        collect(name, Given(root, flags).settings())


# ------------------------------------------------------------------------------------------------- request


def test_an_unchanged_document_is_asked_for_by_its_validators(peer: Peer, collect: Collect, root: Path) -> None:
    peer.answers["/doc"] = [
        Reply(200, b'{"a": 1}', {"ETag": '"e1"', "Last-Modified": "Sat, 21 Nov 2026 00:20:28 GMT"}),
        Reply(304),
        Reply(200, b'{"a": 2}'),
        Reply(200, b'{"a": 2}'),
    ]
    settings = Given(root, {"request.metadata_url": f"{peer.url}/doc?temp_url_sig=x"}).settings()

    first = collect("request", settings)
    same = collect("request", settings, first)
    changed = collect("request", settings, same)
    collect("request", settings, changed)

    assert same is first
    assert {"a": 2} == changed[0].content
    sent = [(r.headers.get("if-none-match"), r.headers.get("if-modified-since")) for r in peer.requests]
    known = ('"e1"', "Sat, 21 Nov 2026 00:20:28 GMT")
    assert [(None, None), known, known, (None, None)] == sent


def test_a_last_modified_that_is_no_date_is_given_back_as_it_came(peer: Peer, collect: Collect, root: Path) -> None:
    peer.answers["/doc"] = Reply(200, b'{"a": 1}', {"Last-Modified": "yesterday"})
    settings = Given(root, {"request.metadata_url": f"{peer.url}/doc"}).settings()

    same = collect("request", settings, collect("request", settings))

    assert {"a": 1} == same[0].content
    assert "yesterday" == peer.requests[1].headers["if-modified-since"]


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (Reply(200, b"<html>"), MetadataError),
        (Reply(200, b"[]"), MetadataError),
        (Reply(200, b""), MetadataError),
        (Reply(200, b"[" * 100_000), MetadataError),
        (Reply(200, b'{"a":' * 100_000), MetadataError),
        (Reply(304), Unavailable),
        (Reply(204), MetadataError),
        (Reply(404), Refused),
        (Reply(500), Unavailable),
        (Raw(), Unavailable),
        (Reply(200, b" " * (2 << 20)), Unavailable),
    ],
)
def test_what_is_no_document_is_an_error_that_hides_the_query(
    peer: Peer, collect: Collect, root: Path, answer: Reply | Raw, error: type[AgentError]
) -> None:
    peer.answers["/doc"] = answer

    with pytest.raises(error, match="/doc") as caught:
        collect("request", Given(root, {"request.metadata_url": f"{peer.url}/doc?sig=sesame"}).settings())

    assert "sesame" not in str(caught.value)


# --------------------------------------------------------------------------------------- files of the guest


@pytest.fixture
def local(root: Path) -> Path:
    directory = root / "var/lib/os-collect-config/local-data"
    directory.mkdir(parents=True)
    return directory


def test_each_local_file_is_a_document_by_name(local: Path, collect: Collect, root: Path) -> None:
    (local / "b.json").write_text('{"b": 1}')
    (local / "a.json").write_text('{"a": 1}')
    (local / ".hidden").write_text("not read")
    (local / "directory").mkdir()

    documents = collect("local", Given(root).settings())

    assert [("a.json", {"a": 1}), ("b.json", {"b": 1})] == [(d.name, d.content) for d in documents]
    assert COLLECTORS["local"].configured(Given(root).settings())


def test_without_a_directory_there_is_nobody_to_ask(root: Path) -> None:
    assert not COLLECTORS["local"].configured(Given(root).settings())


@pytest.mark.parametrize(
    ("content", "said"),
    [("<html>", "not JSON"), ("[]", "a JSON object is wanted"), ("[" * 100_000, "nested too deeply"), ("", "not JSON")],
)
def test_a_local_file_that_is_no_document_is_named(
    local: Path, collect: Collect, root: Path, content: str, said: str
) -> None:
    (local / "bad.json").write_text(content)

    with pytest.raises(MetadataError, match=said) as caught:
        collect("local", Given(root).settings())

    assert str(local / "bad.json") in str(caught.value)


def test_a_local_file_beyond_the_limit_is_not_read(local: Path, collect: Collect, root: Path) -> None:
    (local / "large.json").write_text('{"a": "%s"}' % ("x" * 1000))

    with pytest.raises(MetadataError, match="more than 1000 bytes; see max_document"):
        collect("local", Given(root, {"max_document": "1000"}).settings())


@pytest.mark.parametrize("what", ["", "a.json"], ids=["directory", "file"])
def test_what_everybody_may_write_is_refused_with_the_command_that_helps(
    local: Path, collect: Collect, root: Path, what: str
) -> None:
    (local / "a.json").write_text("{}")
    (local / what).chmod(0o777)

    with pytest.raises(MetadataError, match=r"everybody may write it; chmod o-w /"):
        collect("local", Given(root).settings())


def test_a_directory_of_another_user_is_refused(local: Path, collect: Collect, root: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to give a directory away")
    os.chown(local, 12345, 12345)

    with pytest.raises(MetadataError, match="it belongs to another user"):
        collect("local", Given(root).settings())


def test_a_file_of_another_user_in_our_directory_is_refused(local: Path, collect: Collect, root: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to give a file away")
    (local / "a.json").write_text("{}")
    os.chown(local / "a.json", 12345, 12345)

    with pytest.raises(MetadataError, match="it belongs to another user"):
        collect("local", Given(root).settings())


def test_what_cloud_init_left_is_one_document_and_later_files_win(collect: Collect, root: Path) -> None:
    settings = Given(root, {"heat_local.path": "/one,/two,/absent"}).settings()
    (root / "one").write_text('{"a": 1, "b": 1}')
    (root / "two").write_text('{"b": 2}')

    [document] = collect("heat_local", settings)

    assert {"a": 1, "b": 2} == document.content


COPY, OWN = "var/lib/cloud/data/cfn-init-data", "var/lib/heat-cfntools/cfn-init-data"


def leave(root: Path, name: str, text: str, mode: int) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)
    path.parent.chmod(0o700 if name == OWN else 0o755)
    return path


@pytest.mark.parametrize("names", [(OWN,), (COPY,), (OWN, COPY)], ids=["own", "copy", "both"])
def test_either_copy_that_heat_leaves_is_found(collect: Collect, root: Path, names: tuple[str, ...]) -> None:
    for name in names:
        leave(root, name, '{"a": 1}', 0o640)  # as Ignition writes them

    [document] = collect("heat_local", Given(root).settings())

    assert {"a": 1} == document.content


def test_a_copy_that_everybody_reads_is_tightened_where_that_is_asked_for(collect: Collect, root: Path) -> None:
    copy, own = leave(root, COPY, '{"a": 1}', 0o644), leave(root, OWN, '{"a": 1}', 0o644)

    collect("heat_local", Given(root, {"heat_local.tighten": "true"}).settings())

    assert (0o640, 0o644) == (copy.stat().st_mode & 0o777, own.stat().st_mode & 0o777)


def test_one_good_file_of_cloud_init_is_enough(collect: Collect, root: Path) -> None:
    settings = Given(root, {"heat_local.path": "/one,/two"}).settings()
    (root / "one").write_text("nonsense")
    (root / "two").write_text('{"b": 2}')

    assert {"b": 2} == collect("heat_local", settings)[0].content


def test_without_a_good_file_of_cloud_init_each_fault_is_named(collect: Collect, root: Path) -> None:
    settings = Given(root, {"heat_local.path": "/one,/two", "max_document": "10"}).settings()
    (root / "one").write_text("[" * 20)

    with pytest.raises(Unavailable, match=r"one: more than 10 bytes.*two: No such file"):
        collect("heat_local", settings)
