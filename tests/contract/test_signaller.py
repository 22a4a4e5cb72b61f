"""Each signal transport against a peer: what is on the wire, and what an answer other than yes becomes."""

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from agent import signaller
from agent.aws import sign_v2
from agent.errors import AgentError, Refused, Unavailable
from agent.identity import Tokens
from agent.model import Credentials, Endpoint, JsonMap, Outcome
from agent.settings import Settings
from agent.signaller import Own
from agent.transport import Client
from tests.fakes import Peer, Raw, Reply

BODY = Outcome(3, "out\n", "é\n", {"greeting": {"a": 1}}).body()
QUERY = "Signature=sesame"
STACK = "web/dd50582a-0a3a-4479-8860-6fc581f43af4"
Send = Callable[[Endpoint], None]


@pytest.fixture
def send(client: Client) -> Send:
    tokens = Tokens(client, lambda: 0.0)
    return lambda endpoint: signaller.send(endpoint, BODY, client, tokens)


def presigned(peer: Peer, transport: str = "CFN_SIGNAL", verb: str = "POST") -> Endpoint:
    return Endpoint(transport, url=f"{peer.url}/v1/signal/arn%3Aopenstack%3Aheat?{QUERY}", verb=verb)


def keystone(peer: Peer, *tokens: str) -> None:
    """A Keystone that gives these tokens in turn, with a catalogue of services at the peer."""

    def service(kind: str, path: str) -> JsonMap:
        return {"type": kind, "endpoints": [{"interface": "public", "region_id": "One", "url": peer.url + path}]}

    catalogue: Any = [service("orchestration", "/v1/project"), service("messaging", "/zaqar")]
    body = json.dumps({"token": {"expires_at": "2026-11-21T04:19:29.000000Z", "catalog": catalogue}}).encode()
    peer.answers["/v3/auth/tokens"] = [Reply(201, body, {"X-Subject-Token": token}) for token in tokens]


def native(peer: Peer, transport: str = "HEAT_SIGNAL") -> Endpoint:
    return Endpoint(
        transport,
        stack_id=STACK,
        resource_name="my deployment/1",
        credentials=Credentials(f"{peer.url}/v3", "user", "password", "project", "One"),
        queue_id="queue-1",
    )


SIGNAL_PATH = f"/v1/project/stacks/{STACK}/resources/my%20deployment%2F1/signal"
QUEUE_PATH = "/zaqar/v2/queues/queue-1/messages"


# --------------------------------------------------------------------------------------------- on the wire


@pytest.mark.parametrize(
    ("transport", "verb", "status"), [("CFN_SIGNAL", "POST", 200), ("TEMP_URL_SIGNAL", "PUT", 201)]
)
def test_a_presigned_url_gets_the_outcome_as_it_stands(
    peer: Peer, send: Send, transport: str, verb: str, status: int
) -> None:
    peer.answers["/v1/signal/arn%3Aopenstack%3Aheat"] = Reply(status)

    send(presigned(peer, transport, verb))

    [request] = peer.requests
    assert (verb, QUERY, "application/json") == (request.method, request.query, request.headers["content-type"])
    assert BODY == json.loads(request.body.decode("ascii"))


def test_heat_gets_the_outcome_from_the_deployments_own_user(peer: Peer, send: Send) -> None:
    keystone(peer, "token-1")
    peer.answers[SIGNAL_PATH] = Reply(200, b"null")

    send(native(peer))

    signed_in, request = peer.requests
    assert {"id": "user", "password": "password"} == json.loads(signed_in.body)["auth"]["identity"]["password"]["user"]
    assert {"project": {"id": "project"}} == json.loads(signed_in.body)["auth"]["scope"]
    assert ("POST", "token-1", "application/json") == (
        request.method,
        request.headers["x-auth-token"],
        request.headers["content-type"],
    )
    assert BODY == json.loads(request.body)


def test_zaqar_gets_the_outcome_as_a_message(peer: Peer, send: Send) -> None:
    keystone(peer, "token-1")
    peer.answers[QUEUE_PATH] = Reply(201, b"{}")

    send(native(peer, "ZAQAR_SIGNAL"))

    request = peer.requests[1]
    assert {"messages": [{"ttl": 600, "body": BODY}]} == json.loads(request.body)
    assert ("token-1", "project") == (request.headers["x-auth-token"], request.headers["x-project-id"])
    assert 36 == len(request.headers["client-id"])


@pytest.mark.parametrize("stack", ["web/uuid", "caf%C3%A9/uuid"])
def test_a_stack_id_is_quoted_as_heat_quoted_it(peer: Peer, send: Send, stack: str) -> None:
    keystone(peer, "token-1")
    path = f"/v1/project/stacks/{stack}/resources/{quote('é')}/signal"
    peer.answers[path] = Reply(200)

    send(Endpoint("HEAT_SIGNAL", stack_id=stack, resource_name="é", credentials=native(peer).credentials))

    assert path == peer.requests[1].path


# ------------------------------------------------------------------------------------------ another answer


@pytest.mark.parametrize(("transport", "path"), [("HEAT_SIGNAL", SIGNAL_PATH), ("ZAQAR_SIGNAL", QUEUE_PATH)])
def test_a_token_that_ended_while_the_hook_ran_is_renewed_once(
    peer: Peer, send: Send, transport: str, path: str
) -> None:
    keystone(peer, "old", "new")
    peer.answers[path] = [Reply(401), Reply(200)]

    send(native(peer, transport))

    posts = [request.headers["x-auth-token"] for request in peer.requests if request.path == path]
    assert ["old", "new"] == posts


def test_a_user_who_is_refused_twice_is_refused(peer: Peer, send: Send) -> None:
    keystone(peer, "old", "new")
    peer.answers[SIGNAL_PATH] = Reply(401)

    with pytest.raises(Refused) as caught:
        send(native(peer))

    assert (401, False) == (caught.value.status, caught.value.final)
    assert 4 == len(peer.requests)


def test_a_refused_presigned_url_names_what_usually_ended_it(peer: Peer, send: Send) -> None:
    peer.answers["/v1/signal/arn%3Aopenstack%3Aheat"] = Reply(403, b"<Code>AccessDenied</Code>")

    with pytest.raises(Refused, match=r"AccessDenied.*15 minutes.*auth_ttl.*clock of this guest") as caught:
        send(presigned(peer))

    assert "sesame" not in str(caught.value)
    assert (403, False) == (caught.value.status, caught.value.final)


def test_only_a_cfn_url_is_said_to_end_by_itself(peer: Peer, send: Send) -> None:
    peer.answers["/v1/signal/arn%3Aopenstack%3Aheat"] = Reply(403)

    with pytest.raises(Refused) as caught:
        send(presigned(peer, "TEMP_URL_SIGNAL", "PUT"))

    assert "auth_ttl" not in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "error", "final"),
    [
        (Reply(400), Refused, True),
        (Reply(401), Refused, False),
        (Reply(404), Refused, True),
        (Reply(409), Refused, True),
        (Reply(500), Unavailable, None),
        (Reply(503, b"", {"Retry-After": "3"}), Unavailable, None),
        (Raw(), Unavailable, None),
        (Raw([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhal"]), Unavailable, None),
        (Reply(302, b"", {"Location": "/elsewhere"}), Refused, False),
        (Reply(307, b"", {"Location": "http://127.0.0.2:1/"}), Refused, False),
    ],
)
def test_an_outcome_that_was_not_taken_is_an_error_and_is_sent_once(
    peer: Peer, send: Send, answer: Reply | Raw, error: type[AgentError], final: bool | None
) -> None:
    peer.answers["/v1/signal/arn%3Aopenstack%3Aheat"] = answer

    with pytest.raises(error) as caught:
        send(presigned(peer))

    assert final == getattr(caught.value, "final", None)
    assert 1 == len(peer.requests)
    assert "sesame" not in str(caught.value)


def test_a_keystone_that_is_down_means_later(peer: Peer, send: Send) -> None:
    peer.answers["/v3/auth/tokens"] = Reply(503)

    with pytest.raises(Unavailable):
        send(native(peer))


def test_a_user_that_is_gone_is_told_apart(peer: Peer, send: Send) -> None:
    peer.answers["/v3/auth/tokens"] = Reply(401)

    with pytest.raises(Refused, match=r"signing in as user user .* refused with 401"):
        send(native(peer))


@pytest.mark.parametrize(
    ("body", "headers"),
    [(b"<html>", {}), (b"{}", {"X-Subject-Token": "t"}), (b'{"token": 3}', {"X-Subject-Token": "t"})],
)
def test_a_sign_in_that_is_no_keystones_is_later_too(
    peer: Peer, send: Send, body: bytes, headers: dict[str, str]
) -> None:
    peer.answers["/v3/auth/tokens"] = Reply(201, body, headers)

    with pytest.raises(Unavailable, match=r"/v3/auth/tokens is no Keystone v3 token"):
        send(native(peer))


@pytest.mark.parametrize(
    ("endpoint", "missing"),
    [
        (Endpoint("CFN_SIGNAL"), "deploy_signal_id"),
        (Endpoint("TEMP_URL_SIGNAL", verb="PUT"), "deploy_signal_id"),
        (Endpoint("HEAT_SIGNAL"), "deploy_auth_url"),
        (Endpoint("ZAQAR_SIGNAL", credentials=Credentials("http://k/", "u", "p")), "deploy_queue_id"),
    ],
)
def test_an_endpoint_that_lacks_something_is_refused_for_good(send: Send, endpoint: Endpoint, missing: str) -> None:
    with pytest.raises(Refused, match=f"the deployment's inputs lack .*{missing}") as caught:
        send(endpoint)

    assert caught.value.final


def test_a_transport_of_a_later_heat_waits_for_a_later_agent(send: Send) -> None:
    with pytest.raises(Unavailable, match="no transport 'PIGEON_SIGNAL'; known: CFN_SIGNAL") as caught:
        send(Endpoint("PIGEON_SIGNAL", url="http://x/"))

    assert not caught.value.sent


# --------------------------------------------------------------------------------------------- another door

URL_PATH = "/v1/signal/arn%3Aopenstack%3Aheat"
KEYS = Own(access_key="AKEY", secret_key="SKEY")
Doors = Callable[[Endpoint, Own], None]


@pytest.fixture
def through(client: Client) -> Doors:
    tokens = Tokens(client, lambda: 0.0)
    return lambda endpoint, server: signaller.send(endpoint, BODY, client, tokens, server)


def by_user(peer: Peer) -> Own:
    return Own(Credentials(f"{peer.url}/v3", "server", "password", "project", "One"))


def expired(peer: Peer, transport: str = "CFN_SIGNAL") -> Endpoint:
    """What a CFN_SIGNAL deployment brings: a URL, its stack and resource, and no user."""
    url = presigned(peer).url
    return Endpoint(transport, url=url, verb="POST", stack_id=STACK, resource_name="my deployment/1")


def test_a_url_that_is_taken_needs_no_other_door(peer: Peer, through: Doors) -> None:
    peer.answers[URL_PATH] = Reply(200)

    through(expired(peer), by_user(peer))

    assert [URL_PATH] == [request.path for request in peer.requests]


def test_a_refused_url_is_followed_by_the_servers_own_user(peer: Peer, through: Doors) -> None:
    keystone(peer, "token-1")
    peer.answers[URL_PATH] = Reply(403)
    peer.answers[SIGNAL_PATH] = Reply(200, b"null")

    through(expired(peer), by_user(peer))

    assert [URL_PATH, "/v3/auth/tokens", SIGNAL_PATH] == [request.path for request in peer.requests]
    assert "server" == json.loads(peer.requests[1].body)["auth"]["identity"]["password"]["user"]["id"]
    assert "token-1" == peer.requests[2].headers["x-auth-token"]
    assert BODY == json.loads(peer.requests[2].body)


def test_a_server_without_a_user_signs_the_same_url_anew_without_a_timestamp(peer: Peer, through: Doors) -> None:
    peer.answers[URL_PATH] = [Reply(403), Reply(200)]

    through(expired(peer), KEYS)

    _, again = peer.requests
    assert sign_v2("POST", peer.url + URL_PATH, {}, "AKEY", "SKEY") == f"{peer.url}{again.path}?{again.query}"
    assert ("POST", "application/json") == (again.method, again.headers["content-type"])
    assert "Timestamp" not in again.query
    assert BODY == json.loads(again.body)


def test_signature_version_4_is_the_last_way_to_sign(peer: Peer, through: Doors) -> None:
    peer.answers[URL_PATH] = [Reply(403), Reply(403), Reply(200)]

    through(expired(peer), KEYS)

    last = peer.requests[-1]
    assert (3, "") == (len(peer.requests), last.query)
    assert last.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKEY/")
    assert BODY == json.loads(last.body)


def test_keys_that_are_refused_in_both_ways_may_be_right_later(peer: Peer, through: Doors) -> None:
    peer.answers[URL_PATH] = Reply(403)

    with pytest.raises(Refused) as caught:
        through(expired(peer), KEYS)

    assert (403, False, 3) == (caught.value.status, caught.value.final, len(peer.requests))


@pytest.mark.parametrize("door", ["user", "keys"])
def test_a_deployment_of_another_stack_has_no_other_door(peer: Peer, through: Doors, door: str) -> None:
    keystone(peer, "token-1")
    peer.answers[SIGNAL_PATH] = Reply(404, b"The Stack (x) could not be found.")
    peer.answers[URL_PATH] = [Reply(403, b"AccessDenied"), Reply(400, b"The Stack (x) could not be found.")]

    with pytest.raises(Refused, match=r"AccessDenied.*auth_ttl.*another stack.*could not be found") as caught:
        through(expired(peer), by_user(peer) if door == "user" else KEYS)

    assert (403, False) == (caught.value.status, caught.value.final)
    assert "sesame" not in str(caught.value)


def test_a_door_that_is_down_means_later(peer: Peer, through: Doors) -> None:
    keystone(peer, "token-1")
    peer.answers[URL_PATH] = Reply(403)
    peer.answers[SIGNAL_PATH] = Reply(503)

    with pytest.raises(Unavailable):
        through(expired(peer), by_user(peer))


@pytest.mark.parametrize(("transport", "status"), [("TEMP_URL_SIGNAL", 403), ("CFN_SIGNAL", 404), ("CFN_SIGNAL", 400)])
def test_other_refusals_open_no_other_door(peer: Peer, through: Doors, transport: str, status: int) -> None:
    peer.answers[URL_PATH] = Reply(status)

    with pytest.raises(Refused):
        through(expired(peer, transport), by_user(peer))

    assert 1 == len(peer.requests)


def test_the_user_of_the_queue_serves_where_the_native_collector_has_none() -> None:
    queue: dict[str, Any] = {"zaqar_auth_url": "http://k", "zaqar_user_id": "z", "zaqar_project_id": "p"}

    alone = signaller.own(Settings(**queue))
    beside = signaller.own(Settings(**queue, heat_auth_url="http://k", heat_user_id="h"))

    assert alone.user
    assert beside.user
    assert ("z", "h") == (alone.user.user_id, beside.user.user_id)
