"""On the wire: from TLS 1.2 on, to whom the CA of a source vouches for, with our certificate; no token elsewhere."""

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

from agent import signaller, transport
from agent.doctor import network
from agent.documents import Glass
from agent.errors import Unavailable
from agent.identity import Tokens
from agent.metadata import Metadata
from agent.model import Credentials, Endpoint, Outcome
from agent.settings import Given, Settings
from agent.subscription import Subscription
from agent.transport import Client, Limits
from tests.collect.push import Push
from tests.conftest import require
from tests.fakes import Peer, Raw, Reply
from tests.waiting import LONGEST_S

LIMITS = Limits(connect_s=LONGEST_S, read_s=LONGEST_S, total_s=LONGEST_S)
BODY = Outcome(0).body()
STACK = "web/dd50582a"
XML = (
    "<DescribeStackResourceResponse><DescribeStackResourceResult><StackResourceDetail><Metadata>{}</Metadata>"
    "</StackResourceDetail></DescribeStackResourceResult></DescribeStackResourceResponse>"
)


def catalogue(url: str, push: str) -> Reply:
    """A sign-in whose catalogue has all services at one address."""
    places = {"orchestration": f"{url}/heat", "messaging": url, "messaging-websocket": push}
    services = [
        {"type": kind, "endpoints": [{"interface": "public", "region_id": "One", "url": place}]}
        for kind, place in places.items()
    ]
    body = {"token": {"expires_at": "2099-01-01T00:00:00Z", "catalog": services}}
    return Reply(201, json.dumps(body).encode(), {"X-Subject-Token": "sesame"})


def populate(cloud: Peer, push: str) -> None:
    """Everything that a guest asks for, and all that it signals to."""
    cloud.answers = {
        "/v3/auth/tokens": catalogue(cloud.url, push),
        f"/heat/stacks/{STACK}/resources/server/metadata": Reply(200, b'{"metadata": {"n": 1}}'),
        "/v1/": Reply(200, XML.format('{"n": 1}').encode()),
        "/swift/object": Reply(200, b'{"n": 1}'),
        "/v2/queues/q/messages": Reply(200, b'{"messages": [{"id": "m", "body": {"n": 1}}]}'),
        f"/heat/stacks/{STACK}/resources/web/signal": Reply(),
        "/v2/queues/signals/messages": Reply(201, b"{}"),
        "/v1/signal/arn": Reply(),
    }


def keys(cloud: Peer) -> dict[str, str]:
    """The settings of all sources."""
    user = {"auth_url": f"{cloud.url}/v3", "user_id": "u", "password": "p", "project_id": "p"}
    sections = {
        "heat": {**user, "stack_id": STACK, "resource_name": "server"},
        "zaqar": {**user, "queue_id": "q"},
        "request": {"metadata_url": f"{cloud.url}/swift/object?temp_url_sig=x"},
        "cfn": {
            "metadata_url": f"{cloud.url}/v1/",
            "stack_name": "web",
            "path": "server.Metadata",
            "access_key_id": "a",
            "secret_access_key": "k",
        },
    }
    return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}


def known(root: Path, flags: dict[str, str]) -> Metadata:
    """What a guest with these settings knows so far: nothing; and it keeps nothing."""
    return Metadata(Given(root, flags), lambda: 0.0, shelf=Glass(()))


def poll(name: str) -> Callable[[Metadata, Peer], None]:
    def act(metadata: Metadata, _cloud: Peer) -> None:
        fault = metadata.collect({name})[name].fault
        if fault:
            raise fault

    return act


def signal(transport: str) -> Callable[[Metadata, Peer], None]:
    def act(metadata: Metadata, cloud: Peer) -> None:
        who = Credentials(f"{cloud.url}/v3", "u", "p", "p", "One")
        path, verb = ("/swift/object", "PUT") if transport == "TEMP_URL_SIGNAL" else ("/v1/signal/arn", "POST")
        endpoint = Endpoint(transport, f"{cloud.url}{path}?Signature=x", verb, STACK, "web", who, "signals")
        connection = metadata.connection(signaller.SECTIONS[transport])
        signaller.send(endpoint, BODY, connection.client, connection.tokens)

    return act


def subscribe(metadata: Metadata, _cloud: Peer) -> None:
    subscription = Subscription()
    with closing(subscription):
        if not subscription.tend(metadata.settings, metadata.connection("zaqar").tokens, 0.0):
            raise Unavailable("not subscribed")


PATHS = {
    **{f"poll {name}": (name, poll(name)) for name in ("cfn", "heat", "request", "zaqar")},
    **{f"signal {name}": (section, signal(name)) for name, section in signaller.SECTIONS.items()},
    "push": ("zaqar", subscribe),
}


def strict(authority: Path) -> ssl.SSLContext:
    """A server that has a certificate of the CA, and speaks to those who have one, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    context.load_verify_locations(authority / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def push(authority: Path) -> Iterator[Push]:
    with closing(Push(strict(authority))) as made:
        yield made


@pytest.fixture
def cloud(authority: Path, push: Push) -> Iterator[Peer]:
    with closing(Peer(strict(authority))) as made:
        populate(made, push.url)
        yield made


def of_source(section: str, authority: Path, *names: str) -> dict[str, str]:
    """The named ones of the three files, as settings of one source alone."""
    found = {"ca_file": "ca.pem", "client_cert": "server.pem", "client_key": "server.key"}
    spelled = {"ca_file": "ca_certificate"} if section == "cfn" else {}
    return {f"{section}.{spelled.get(name, name)}": str(authority / found[name]) for name in names}


@pytest.mark.parametrize("path", PATHS)
def test_the_ca_and_the_certificate_of_a_source_hold_on_each_way_to_the_cloud(
    path: str, cloud: Peer, push: Push, authority: Path, root: Path
) -> None:
    section, act = PATHS[path]
    ours = of_source(section, authority, "ca_file", "client_cert", "client_key")

    act(known(root, {**keys(cloud), **ours}), cloud)

    assert cloud.requests
    assert bool(push.asked) is (path == "push")


@pytest.mark.parametrize("lacking", ["ca_file", "client_cert"])
@pytest.mark.parametrize("path", PATHS)
def test_without_either_of_them_nothing_is_said_on_any_way(
    path: str, lacking: str, cloud: Peer, push: Push, authority: Path, root: Path
) -> None:
    section, act = PATHS[path]
    left = {"ca_file"} if lacking == "client_cert" else {"client_cert", "client_key"}
    ours = of_source(section, authority, *left)

    with pytest.raises(Unavailable):
        act(known(root, {**keys(cloud), **ours}), cloud)

    assert ([], []) == (cloud.requests, push.asked)


# ----------------------------------------------------------------------------------------------- old versions


@pytest.fixture
def permissive(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose OpenSSL is configured to speak whatever it can, as some are for an old server's sake."""
    made = ssl.SSLContext.__new__

    def lax(kind: type[ssl.SSLContext], *arguments: int) -> ssl.SSLContext:
        context = made(kind, *arguments)
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.set_ciphers("ALL:@SECLEVEL=0")
        return context

    monkeypatch.setattr(ssl.SSLContext, "__new__", lax)


@contextmanager
def speaking(version: ssl.TLSVersion, authority: Path) -> Iterator[tuple[str, list[bytes]]]:
    """A server of this version of TLS and no other: where it is, and what came out of a completed handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    heard: list[bytes] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                link, _ = server.accept()
                link.settimeout(LONGEST_S)
                with suppress(OSError), context.wrap_socket(link, server_side=True) as secure:
                    heard.append(secure.recv(10))
                    secure.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    with socket.create_server(("127.0.0.1", 0)) as server:
        taker = threading.Thread(target=serve, daemon=True)
        taker.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", heard
        finally:
            server.shutdown(socket.SHUT_RDWR)
            taker.join(LONGEST_S)


def by_request(where: str, settings: Settings) -> None:
    transport.client(settings).request("GET", f"https://{where}/x")


def by_push(where: str, settings: Settings) -> None:
    with closing(Peer()) as keystone:
        keystone.answers["/v3/auth/tokens"] = catalogue(keystone.url, f"wss://{where}")
        named = {"auth_url": keystone.url, "user_id": "u", "password": "p", "project_id": "p", "queue_id": "q"}
        flags = {"ca_file": settings.ca_file, **{f"zaqar.{key}": value for key, value in named.items()}}
        if not Subscription().tend(Given(settings.root, flags).settings(), Tokens(Client(LIMITS)), 0.0):
            raise Unavailable("not subscribed")


def by_doctor(where: str, settings: Settings) -> None:
    if (found := network.reach(f"https://{where}/x", settings, "")).code:
        raise Unavailable(found.text)


OLD = [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.usefixtures("permissive")
@pytest.mark.parametrize("version", OLD, ids=["1.0", "1.1"])
@pytest.mark.parametrize("speak", [by_request, by_push, by_doctor])
def test_tls_before_1_2_is_not_spoken_even_where_the_machine_permits_it(
    speak: Callable[[str, Settings], None], version: ssl.TLSVersion, authority: Path, root: Path
) -> None:
    settings = Given(root, {"ca_file": str(authority / "ca.pem")}).settings()

    with speaking(version, authority) as (where, heard):
        require(greets(where, authority), f"needs an OpenSSL that can still speak {version.name}")
        heard.clear()
        with pytest.raises(Unavailable):
            speak(where, settings)

    assert [] == heard


def greets(where: str, authority: Path) -> bool:
    """Whether somebody without a rule of his own is served there."""
    host, _, port = where.partition(":")
    try:
        with socket.create_connection((host, int(port)), LONGEST_S) as link:
            context = ssl.create_default_context(cafile=authority / "ca.pem")
            with context.wrap_socket(link, server_hostname=host) as secure:
                secure.sendall(b"hello")
                return secure.recv(8) == b"HTTP/1.1"
    except ssl.SSLError:
        return False


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def test_tls_from_1_2_on_is_spoken(version: ssl.TLSVersion, authority: Path, root: Path) -> None:
    settings = Given(root, {"ca_file": str(authority / "ca.pem")}).settings()

    with speaking(version, authority) as (where, heard):
        by_request(where, settings)

    assert [b"GET /x HTT"] == heard


# --------------------------------------------------------------------------------------------------- elsewhere


def test_a_websocket_that_redirects_to_another_host_gets_no_token_there(root: Path) -> None:
    with closing(Peer()) as cloud, closing(Push()) as other:
        cloud.answers["/v3/auth/tokens"] = catalogue(cloud.url, cloud.url.replace("http:", "ws:") + "/ws")
        cloud.answers["/ws"] = Raw([f"HTTP/1.1 302 Found\r\nLocation: {other.url}\r\n\r\n".encode()])
        with pytest.raises(Unavailable):
            subscribe(known(root, keys(cloud)), cloud)

        assert [] == other.asked
