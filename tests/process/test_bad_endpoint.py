"""Endpoints that misbehave: no outcome is lost, none is hammered, and only a final refusal ends the tries."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler

import pytest

from tests.process.endpoint import Endpoint, answer, answering, listening
from tests.process.guest import Guest, put
from tests.waiting import until

SCRIPT = "#!/bin/sh\necho ran >> $WITNESS\n"
SHORT = {"once_patience": "0.5"}
Spoil = Callable[[BaseHTTPRequestHandler, str], bool]


def half_an_answer(request: BaseHTTPRequestHandler, _name: str) -> bool:
    request.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    request.close_connection = True
    return True


def no_answer(request: BaseHTTPRequestHandler, _name: str) -> bool:
    request.close_connection = True
    return request.rfile.read(1) == b""  # until the client has gone


def dripping_answer(request: BaseHTTPRequestHandler, _name: str) -> bool:
    request.close_connection = True
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone":
        time.sleep(0.2)
        try:
            request.wfile.write(bytes([byte]))
        except OSError:
            break
    return True


def closed_at_once(request: BaseHTTPRequestHandler, _name: str) -> bool:
    request.close_connection = True
    return True


def reset(request: BaseHTTPRequestHandler, _name: str) -> bool:
    request.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    request.connection.close()
    request.close_connection = True
    return True


def garbage(request: BaseHTTPRequestHandler, _name: str) -> bool:
    request.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    request.close_connection = True
    return True


def endless(request: BaseHTTPRequestHandler, _name: str) -> bool:
    request.close_connection = True
    request.wfile.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    try:
        while True:
            request.wfile.write(bytes(1 << 16))
    except OSError:
        return True


@pytest.mark.parametrize(
    ("spoil", "says", "limits"),
    [
        (answering(500, b"internal error"), "answered 500 (internal error)", {}),
        (answering(502), "answered 502", {}),
        (answering(503), "answered 503", {}),
        (answering(429), "answered 429", {}),
        (answering(401), "answered 401", {}),
        (answering(403), "answered 403", {}),
        (half_an_answer, "the answer broke off", {}),
        (no_answer, "silent for", {"read_timeout": "0.5"}),
        (dripping_answer, "no complete answer within 1 s", {"total_timeout": "1"}),
        (closed_at_once, "closed connection without response", {}),
        (reset, "reset by peer", {}),
        (garbage, "SSH-2.0", {}),
        (endless, "see max_document", {}),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_an_outcome_that_was_not_taken_is_kept_and_sent_when_the_endpoint_recovers(
    guest: Guest, endpoint: Endpoint, spoil: Spoil, says: str, limits: dict[str, str]
) -> None:
    """The deployments are on the guest already, so that its short limits are those of the signal alone."""
    guest.flags["collectors"] = "local"
    endpoint.serve(endpoint.script("web", SCRIPT), endpoint.script("local", SCRIPT, inputs=[]))
    put(guest.root / "var/lib/os-collect-config/local-data/web.json", endpoint.document.decode())
    endpoint.spoil = spoil

    ended = guest.once(**SHORT, **limits)

    assert (2, ["ran", "ran"]) == (ended.status, guest.seen()), ended.stderr
    kept = guest.journal()["id-web"]
    assert ("received", True) == (kept["state"], kept["tries"] >= 1)
    assert says in kept["reason"], kept["reason"]
    assert says in ended.events("outcome not taken")[0]["reason"]
    assert "Traceback" not in ended.stderr
    assert 1 <= len(endpoint.tries) <= 4

    endpoint.spoil = lambda _request, _name: False
    again = guest.once()

    assert (0, ["COMPLETE"]) == (again.status, [sent.judged for sent in endpoint.of("web")]), again.stderr
    assert ["ran", "ran"] == guest.seen()
    assert "signalled" == guest.states()["id-web"]


@pytest.mark.parametrize("status", [400, 404, 405, 409, 410, 413, 422])
def test_a_final_refusal_ends_the_tries_and_is_reported(guest: Guest, endpoint: Endpoint, status: int) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT), endpoint.script("other", SCRIPT))
    endpoint.spoil = lambda request, name: name == "web" and answering(status, b"no such thing")(request, name)

    ended = guest.once(**SHORT)

    [event] = ended.events("outcome refused for good")
    assert f"answered {status} (no such thing)" in event["reason"]
    assert {"id-web": "refused", "id-other": "signalled"} == guest.states()
    assert (guest.deployed / "id-web.notify.json").exists()

    guest.once()

    assert (1, 1) == (endpoint.tries.count("web"), endpoint.tries.count("other"))


def test_retry_after_is_obeyed(guest: Guest, endpoint: Endpoint) -> None:
    times: list[float] = []

    def spoil(request: BaseHTTPRequestHandler, _name: str) -> bool:
        times.append(time.monotonic())
        if len(times) == 1:
            answer(request, 503, Retry_After="3")
        return len(times) == 1

    endpoint.serve(endpoint.script("web", SCRIPT))
    endpoint.spoil = spoil

    assert 0 == guest.once().status
    assert times[1] - times[0] >= 3.0


def test_an_expired_url_says_what_expires(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    endpoint.spoil = answering(403, b"SignatureDoesNotMatch")

    ended = guest.once(**SHORT)

    assert "a CFN_SIGNAL URL ends 15 minutes after Heat made it" in ended.events("outcome not taken")[0]["reason"]


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_an_outcome_does_not_follow_a_redirect_to_another_host(guest: Guest, endpoint: Endpoint, status: int) -> None:
    with listening() as stranger:
        endpoint.serve(endpoint.script("web", SCRIPT))
        endpoint.spoil = answering(status, Location=stranger.signal_url("web"))

        ended = guest.once(**SHORT)

        assert (2, [], 0) == (ended.status, stranger.tries, stranger.polls)
        assert "redirected to another host" in guest.journal()["id-web"]["reason"]


def test_an_endpoint_that_is_not_there_costs_no_outcome(guest: Guest, endpoint: Endpoint) -> None:
    with socket.socket() as unheard:  # a port that is nobody else's either
        unheard.bind(("127.0.0.1", 0))
        endpoint.serve(Endpoint(port=unheard.getsockname()[1]).script("web", SCRIPT))

        ended = guest.once(**SHORT)

    assert (2, ["ran"]) == (ended.status, guest.seen())
    assert "Connection refused" in guest.journal()["id-web"]["reason"]


def test_a_kept_outcome_is_not_sent_once_its_id_has_left(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    endpoint.spoil = answering(503)
    assert 2 == guest.once(**SHORT).status
    tries = len(endpoint.tries)

    endpoint.spoil = lambda _request, _name: False
    endpoint.serve()

    assert 0 == guest.once().status
    assert (tries, {"id-web": "superseded"}) == (len(endpoint.tries), guest.states())


def test_a_kept_outcome_waits_while_the_source_is_down(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    endpoint.spoil = answering(503)
    assert 2 == guest.once(**SHORT).status
    tries = len(endpoint.tries)

    endpoint.spoil = lambda _request, _name: False
    endpoint.metadata_status = 503

    assert 2 == guest.once(**SHORT).status
    assert tries == len(endpoint.tries)

    endpoint.metadata_status = 200

    assert (0, 1) == (guest.once().status, len(endpoint.signals))


def test_the_daemon_delivers_when_the_endpoint_recovers(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    endpoint.spoil = answering(500)
    guest.start("run", min_polling_interval="0.1", polling_interval="0.2", signal_backoff="0.3")
    until(lambda: len(endpoint.tries) >= 3, "three vain tries")

    endpoint.spoil = lambda _request, _name: False

    until(lambda: guest.states() == {"id-web": "signalled"}, "the outcome to be taken")
    assert (["ran"], 1) == (guest.seen(), len(endpoint.signals))


@pytest.mark.parametrize("status", [400, 401, 403, 404, 500, 503])
def test_a_source_that_says_no_is_named_and_the_kept_document_stands(
    guest: Guest, endpoint: Endpoint, status: int
) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    assert 0 == guest.once().status
    endpoint.metadata_status = status

    ended = guest.once(**SHORT)

    assert 2 == ended.status
    assert f"/metadata.json: answered {status}" in ended.events("source unavailable")[0]["reason"]
    assert (["ran"], {"id-web": "signalled"}) == (guest.seen(), guest.states())


def test_no_signature_of_a_signal_url_is_ever_printed_or_kept(guest: Guest, endpoint: Endpoint) -> None:
    deployment = endpoint.script("web", SCRIPT)
    deployment["inputs"][1]["value"] += "?Signature=verysecret&AWSAccessKeyId=alsosecret"
    endpoint.serve(deployment)
    endpoint.spoil = answering(503)

    ended = guest.once(log_level="debug", **SHORT)

    assert 2 == ended.status
    assert "secret" not in ended.stderr + ended.stdout
    assert "secret" not in str(guest.journal())


def test_a_source_that_nobody_knows_is_down_and_the_others_are_asked(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n"))

    ended = guest.once(collectors="requests,request")

    assert 2 == ended.status
    assert ["COMPLETE"] == [signal.judged for signal in endpoint.of("web")]
    [down] = ended.events("source unavailable")
    assert "no source is called 'requests'; known: heat_local, cfn" in down["reason"]
