"""transport.Client against every kind of server: what comes back is an answer or one of our errors, in bounded time."""

import gzip
import itertools
import socket
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent import tls
from agent.errors import AgentError, Refused, SettingsError, Unavailable
from agent.settings import Given
from agent.tls import Tls
from agent.transport import Client, Limits
from tests.conftest import require
from tests.fakes import Peer, Raw, Reply
from tests.peers import LIMITS
from tests.waiting import LONGEST_S

SECRET = "Signature=sesame"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n"


def asked(client: Client, peer: Peer, method: str = "GET", body: bytes | None = None) -> AgentError:
    """The error that a request ends with; it names the URL and nothing of its query."""
    with pytest.raises(AgentError) as caught:
        client.request(method, f"{peer.url}/x?{SECRET}", body=body, headers={"X-Auth-Token": "token"})

    assert "sesame" not in str(caught.value)
    assert f"{method} {peer.url}/x?…" in str(caught.value)
    return caught.value


# --------------------------------------------------------------------------------------------- whole answers


@pytest.mark.parametrize("status", [200, 201, 204, 304])
def test_an_answer_comes_back_with_its_headers_in_lower_case(peer: Peer, client: Client, status: int) -> None:
    body = b"" if status in (204, 304) else b"hello"
    peer.answers["/x"] = Reply(status, body, {"ETag": '"e1"'})

    answer = client.request("GET", f"{peer.url}/x?{SECRET}")

    assert (status, body, '"e1"') == (answer.status, answer.body, answer.headers["etag"])


def test_a_presigned_url_and_a_body_arrive_byte_for_byte(peer: Peer, client: Client) -> None:
    path = "/v1/signal/arn%3Aopenstack%3Aheat%3A%3Ax~y"
    peer.answers[path] = Reply()

    client.request("POST", f"{peer.url}{path}?a=%2F&b=c%3D&{SECRET}", body=b"{}", headers={"Content-Type": "a/b"})

    [request] = peer.requests
    assert ("POST", path, f"a=%2F&b=c%3D&{SECRET}", b"{}") == (
        request.method,
        request.path,
        request.query,
        request.body,
    )
    assert ("a/b", "2", "identity") == tuple(
        request.headers[name] for name in ("content-type", "content-length", "accept-encoding")
    )


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409])
def test_no_is_a_refusal_that_shows_what_was_said(peer: Peer, client: Client, status: int) -> None:
    peer.answers["/x"] = Reply(status, b"<Code>Denied</Code>")

    refusal = asked(client, peer)

    assert isinstance(refusal, Refused)
    assert status == refusal.status
    assert f"answered {status} (<Code>Denied</Code>)" in str(refusal)


@pytest.mark.parametrize("status", [500, 502, 503])
def test_a_broken_server_is_unavailable(peer: Peer, client: Client, status: int) -> None:
    peer.answers["/x"] = Reply(status, b"oops", {"Retry-After": "7"})

    fault = asked(client, peer, "POST", b"{}")

    assert isinstance(fault, Unavailable)
    assert (7.0, True) == (fault.retry_after_s, fault.sent)


# -------------------------------------------------------------------------------------------- broken answers

BROKEN = {
    "nothing": Raw(),
    "half a status line": Raw([b"HTTP/1.1 2"]),
    "no HTTP": Raw([b"\x16\x03\x01 hello\r\n\r\n"]),
    "half a body": Raw([HEAD + b"Content-Length: 100\r\n\r\n", b"half"]),
    "half a chunk": Raw([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"50\r\nhalf"]),
    "no chunk": Raw([HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\n"]),
    "endless headers": Raw(HEAD + b"X-%d: y\r\n" % n if not n else b"X-%d: y\r\n" % n for n in itertools.count()),
    "one endless header": Raw(itertools.chain([HEAD + b"X: "], itertools.repeat(b"y" * 10_000))),
    "not gzip": Raw([HEAD + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope"]),
}


@pytest.mark.parametrize("how", BROKEN)
def test_half_an_answer_is_none(peer: Peer, client: Client, how: str) -> None:
    peer.answers["/x"] = BROKEN[how]

    fault = asked(client, peer)

    assert isinstance(fault, Unavailable)
    assert fault.sent


def test_an_answer_cut_within_its_head_has_said_how_it_went(peer: Peer, client: Client) -> None:
    """http.client takes the end of the stream for the end of the head; the server did say 200."""
    peer.answers["/x"] = Raw([HEAD])

    assert (200, b"") == ((answer := client.request("GET", f"{peer.url}/x")).status, answer.body)


def test_after_a_broken_answer_the_next_request_is_fine(peer: Peer, client: Client) -> None:
    peer.answers["/x"] = [Raw(), Reply(200, b"fine")]

    asked(client, peer)

    assert b"fine" == client.request("GET", f"{peer.url}/x").body


def test_silence_has_an_end(peer: Peer) -> None:
    peer.answers["/x"] = Raw([b"", b""], pause_s=LONGEST_S)

    with closing(Client(Limits(read_s=0.2))) as hasty:
        assert "silent for" in str(asked(hasty, peer))


@pytest.mark.parametrize("start", [HEAD + b"\r\n", HEAD + b"X: ", b""], ids=["body", "header", "status line"])
def test_a_dripping_answer_has_an_end(peer: Peer, start: bytes) -> None:
    peer.answers["/x"] = Raw(itertools.chain([start], itertools.repeat(b"H")), pause_s=0.05)

    with closing(Client(Limits(total_s=0.5))) as hasty:
        assert "no complete answer within" in str(asked(hasty, peer))


def test_nobody_there_means_that_nothing_was_sent(client: Client, peer: Peer) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/x?{SECRET}"

        with pytest.raises(Unavailable, match=r"/x\?…: Connection refused") as caught:
            client.request("POST", url, body=b"{}")

    assert not caught.value.sent


@pytest.mark.parametrize("url", ["", "ftp://x/", "file:///etc/passwd", "http://", "/v1", "http:///x"])
def test_what_is_no_web_address_is_a_fault_of_the_settings(client: Client, url: str) -> None:
    with pytest.raises(SettingsError, match="not an http or https URL"):
        client.request("GET", url)


# -------------------------------------------------------------------------------------------------- too much


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, b"x" * (LIMITS.size + 1)),
        Raw([HEAD + b"Content-Length: 99999999999\r\n\r\n"]),
        Raw(itertools.chain([HEAD + b"\r\n"], itertools.repeat(b"x" * 65536))),
        Raw(itertools.chain([HEAD + b"Transfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"4\r\nxxxx\r\n" * 999))),
    ],
    ids=["announced", "only announced", "endless", "endless in chunks"],
)
def test_more_than_the_limit_is_not_read(peer: Peer, client: Client, answer: Reply | Raw) -> None:
    peer.answers["/x"] = answer

    assert "see max_document" in str(asked(client, peer))


def test_a_compressed_bomb_is_not_blown_up(peer: Peer, client: Client) -> None:
    bomb = gzip.compress(bytes(200 << 20), 1)
    bomb = gzip.compress(bomb) if len(bomb) > LIMITS.size else bomb
    peer.answers["/x"] = Reply(200, bomb, {"Content-Encoding": "gzip"})

    assert "see max_document" in str(asked(client, peer))


def test_an_answer_of_just_the_limit_is_taken(peer: Peer, client: Client) -> None:
    peer.answers["/x"] = Reply(200, b"x" * LIMITS.size)

    assert LIMITS.size == len(client.request("GET", f"{peer.url}/x").body)


# ------------------------------------------------------------------------------------------------- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_get_follows_a_redirect_on_the_same_host(peer: Peer, client: Client, status: int) -> None:
    peer.answers |= {"/x": Reply(status, b"", {"Location": "/y?z=1"}), "/y": Reply(200, b"there")}

    answer = client.request("GET", f"{peer.url}/x", headers={"X-Auth-Token": "token"})

    assert b"there" == answer.body
    assert ("/y", "z=1", "token") == (
        peer.requests[1].path,
        peer.requests[1].query,
        peer.requests[1].headers["x-auth-token"],
    )


@pytest.mark.parametrize("status", [307, 308])
def test_a_post_follows_with_its_body_where_the_answer_says_so(peer: Peer, client: Client, status: int) -> None:
    peer.answers |= {"/x": Reply(status, b"", {"Location": f"{peer.url}/y"}), "/y": Reply(200, b"there")}

    client.request("POST", f"{peer.url}/x", body=b'{"deploy_status_code": 0}')

    assert ("POST", b'{"deploy_status_code": 0}') == (peer.requests[1].method, peer.requests[1].body)


@pytest.mark.parametrize("status", [301, 302, 303])
def test_a_post_that_would_lose_its_body_is_not_sent_on(peer: Peer, client: Client, status: int) -> None:
    peer.answers |= {"/x": Reply(status, b"", {"Location": "/y"}), "/y": Reply()}

    refusal = asked(client, peer, "POST", b"{}")

    assert isinstance(refusal, Refused)
    assert "would lose the body" in str(refusal)
    assert ["/x"] == [request.path for request in peer.requests]


@pytest.mark.parametrize("status", [300, 301, 303, 304, 307])
def test_what_was_sent_is_not_taken_by_an_answer_that_leads_nowhere(peer: Peer, client: Client, status: int) -> None:
    peer.answers["/x"] = Reply(status)

    refusal = asked(client, peer, "POST", b"{}")

    assert isinstance(refusal, Refused)
    assert (status, False) == (refusal.status, refusal.final)
    assert f"answered {status}, which is no success" in str(refusal)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_token_never_goes_to_another_host(peer: Peer, client: Client, method: str) -> None:
    other = Peer()
    other.answers["/y"] = Reply()
    peer.answers["/x"] = Reply(307, b"", {"Location": f"{other.url}/y?token=sesame"})

    refusal = asked(client, peer, method, b"{}" if method == "POST" else None)

    other.close()
    assert isinstance(refusal, Refused)
    assert f"redirected to another host ({other.url}/y?…)" in str(refusal)
    assert [] == other.requests


def test_a_circle_of_redirects_has_an_end(peer: Peer, client: Client) -> None:
    peer.answers["/x"] = Reply(302, b"", {"Location": f"/x?{SECRET}"})

    assert "more than 5 redirects" in str(asked(client, peer))
    assert 6 == len(peer.requests)


# ------------------------------------------------------------------------------------------------------- TLS


@pytest.fixture
def secure(authority: Path) -> Iterator[Peer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    made = Peer(context)
    made.answers["/x"] = Reply(200, b"secret")
    yield made
    made.close()


def test_a_private_authority_is_trusted_when_it_is_named(secure: Peer, authority: Path) -> None:
    named = Client(LIMITS, tls=Tls(str(authority / "ca.pem")))

    assert b"secret" == named.request("GET", f"{secure.url}/x").body


def test_an_unknown_authority_is_not_trusted_and_the_message_says_what_to_set(
    secure: Peer, client: Client, monkeypatch: pytest.MonkeyPatch, authority: Path
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority / "ca.pem"))  # no back door either

    fault = asked(client, secure, "POST", b"{}")

    assert isinstance(fault, Unavailable)
    assert "TLS failed" in str(fault)
    assert "see ca_file" in str(fault)
    assert not fault.sent


def test_a_ca_file_that_is_not_there_is_a_fault_of_the_settings(secure: Peer) -> None:
    fault = asked(Client(LIMITS, tls=Tls("/no/such/ca.pem")), secure)

    assert isinstance(fault, SettingsError)
    assert "see ca_file" in str(fault)


@pytest.fixture
def strict(authority: Path) -> Iterator[Peer]:
    """A server that talks to those with a certificate of the CA, and to nobody else."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    context.load_verify_locations(authority / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    made = Peer(context)
    made.answers["/x"] = Reply(200, b"secret")
    yield made
    made.close()


@pytest.mark.parametrize("files", [("server.pem", "server.key"), ("both.pem", "")], ids=["two-files", "one-file"])
def test_a_server_that_wants_to_know_us_is_shown_our_certificate(
    strict: Peer, authority: Path, files: tuple[str, str]
) -> None:
    (authority / "both.pem").write_text("".join((authority / f"server.{kind}").read_text() for kind in ("key", "pem")))
    cert, key = (str(authority / name) if name else "" for name in files)

    answer = Client(LIMITS, tls=Tls(str(authority / "ca.pem"), cert, key)).request("GET", f"{strict.url}/x")

    assert b"secret" == answer.body


def test_without_a_certificate_such_a_server_is_unavailable(strict: Peer, authority: Path) -> None:
    fault = asked(Client(LIMITS, tls=Tls(str(authority / "ca.pem"))), strict)

    assert isinstance(fault, Unavailable)
    assert "client_cert" in str(fault)


@pytest.mark.parametrize("broken", ["missing.pem", "ca.key"])
def test_a_certificate_of_ours_that_cannot_be_used_is_named(strict: Peer, authority: Path, broken: str) -> None:
    ours = Tls(str(authority / "ca.pem"), str(authority / broken), str(authority / "server.key"))

    fault = asked(Client(LIMITS, tls=ours), strict)

    assert isinstance(fault, (SettingsError, Unavailable))
    assert "client_cert" in str(fault)


@pytest.mark.parametrize("section", ["cfn", "heat", "request", "zaqar"])
def test_each_source_may_have_certificates_of_its_own_and_else_those_of_all(tmp_path: Path, section: str) -> None:
    ca = "ca_certificate" if section == "cfn" else "ca_file"
    flags = {f"{section}.{ca}": "/own/ca", "client_cert": "/all/cert", f"{section}.client_key": "/own/key"}

    settings = Given(tmp_path, flags).settings()

    assert Tls("/own/ca", "/all/cert", "/own/key") == tls.files(settings, section)
    assert Tls("", "/all/cert", "") == tls.files(settings, "")


def test_a_plain_server_on_an_https_address_is_unavailable(peer: Peer, client: Client) -> None:
    with pytest.raises(Unavailable, match="see ca_file"):
        client.request("GET", peer.url.replace("http:", "https:") + "/x")


# ----------------------------------------------------------------------------------------------- environment


def test_passwords_of_a_netrc_file_are_not_sent(
    peer: Peer, client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    login = "login root password sesame\n"
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 {login}default {login}")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    peer.answers["/x"] = Reply()

    client.request("GET", f"{peer.url}/x")

    assert "authorization" not in peer.requests[0].headers


def test_a_named_proxy_is_used(peer: Peer) -> None:
    peer.answers["http://heat.example:8000/v1"] = Reply(200, b"through")
    client = Client(LIMITS, proxy=peer.url)

    assert b"through" == client.request("GET", "http://heat.example:8000/v1").body


@pytest.mark.parametrize(("exempt", "asked_directly"), [("", False), ("heat.example", True)])
def test_the_proxy_of_the_environment_is_used_but_for_whom_it_exempts(
    peer: Peer, client: Client, monkeypatch: pytest.MonkeyPatch, exempt: str, asked_directly: bool
) -> None:
    peer.answers["http://heat.example:1/v1"] = Reply(200, b"through")
    monkeypatch.setenv("http_proxy", peer.url)
    monkeypatch.setenv("no_proxy", exempt)

    if asked_directly:
        with pytest.raises(Unavailable):
            client.request("GET", "http://heat.example:1/v1")
        assert [] == peer.requests
    else:
        assert b"through" == client.request("GET", "http://heat.example:1/v1").body


def test_a_server_is_found_by_its_ipv6_address(client: Client) -> None:
    try:
        peer = Peer(host="::1")
    except OSError:
        require(False, "needs IPv6 on loopback")
        raise
    peer.answers["/x"] = [Reply(302, b"", {"Location": f"{peer.url}/y"})]
    peer.answers["/y"] = Reply(200, b"six")

    answer = client.request("GET", f"{peer.url}/x")

    peer.close()
    assert b"six" == answer.body
    assert f"[::1]:{peer.port}" == peer.requests[0].headers["host"]
