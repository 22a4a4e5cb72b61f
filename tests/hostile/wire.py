"""What comes over the network: documents of each source, Keystone's answers, HTTP itself, frames of the websocket."""

from __future__ import annotations

import base64
import hashlib
import itertools
import socket
import threading
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from agent import answers, jsontext, masking, merge, parse, progress, signaller
from agent.answers import Response
from agent.aws import sign_v2
from agent.collectors import COLLECTORS
from agent.errors import AgentError, SettingsError
from agent.hooks import reading
from agent.identity import Tokens
from agent.model import UNKNOWN, Credentials, Document, Entry
from agent.plan import plan
from agent.settings import Given
from agent.signaller import Own
from agent.subscription import Subscription
from agent.transport import Client, Limits, show
from agent.trust import statement
from tests.collect.push import GUID
from tests.fakes import Peer, Raw
from tests.hostile.judge import Door
from tests.hostile.material import ODD, damaged, document, scalar, spelled, word
from tests.waiting import LONGEST_S

URL = "http://cloud.invalid"
WHO = Credentials(f"{URL}/v3", "u", "p", "p", "One")
KEYS = (
    *("deployments", "os-collect-config", "id", "name", "group", "config", "inputs", "outputs", "options", "type"),
    *("value", "default", "error_output", "timeout", "run_as", "memory", "cpu", "tasks", "on_interrupt", "progress"),
    *(
        "signature",
        "key",
        "expires",
        "purpose",
        "pinned",
        "version",
        "configs",
        "actions",
        "tool",
        "collectors",
        "heat",
    ),
    *("metadata", "messages", "body", "links", "href", "rel", "token", "catalog", "endpoints", "deploy_action"),
)
SIGNATURE = {"version": 1, "key": "0" * 16, "purpose": "p", "expires": "2099-01-01T00:00:00Z", "value": "AAAA"}
DEPLOYMENT = {
    "id": "d1",
    "name": "web",
    "group": "script",
    "config": "#!/bin/sh\n",
    "creation_time": "2026-01-01T00:00:00Z",
    "inputs": [
        {"name": "a", "type": "Json", "value": {"b": [1]}},
        {"name": "deploy_signal_transport", "type": "String", "value": "CFN_SIGNAL"},
        {"name": "deploy_signal_id", "type": "String", "value": f"{URL}/v1/signal/x?Signature=y"},
        {"name": "progress_handle", "type": "Json", "value": {"alarm_url": f"{URL}/v1/waitcondition/y"}},
        {"name": "deploy_action", "type": "String", "value": "CREATE"},
    ],
    "outputs": [{"name": "o", "type": "String", "error_output": True}],
    "options": {"timeout": 5, "run_as": "nobody", "memory": "1G", "cpu": "50%", "signature": SIGNATURE},
}
COMPONENT = {
    **DEPLOYMENT,
    "group": "component",
    "config": {"configs": [{"actions": ["CREATE"], "config": "x", "tool": "script"}]},
}
OVERLAY = {"collectors": ["heat", "zaqar"], "heat": {"auth_url": URL, "user_id": "u"}, "cfn": {"path": ["a.b"]}}
METADATA = {"deployments": [DEPLOYMENT, COMPONENT], "os-collect-config": OVERLAY, "a": {"b": [1, {"c": None}]}}
CATALOGUE = [
    {"type": kind, "endpoints": [{"interface": "public", "region_id": "One", "url": f"{URL}/{kind}"}]}
    for kind in ("orchestration", "messaging", "messaging-websocket")
]
TOKEN = {"token": {"expires_at": "2099-01-01T00:00:00Z", "catalog": CATALOGUE}}
MESSAGES = {
    "messages": [{"id": "m1", "body": METADATA}, {"href": "/v2/q/m2", "body": {"a": 1}}],
    "links": [{"rel": "next", "href": "/v2/queues/q/messages?marker=2"}],
}
XML = (
    b"<R><DescribeStackResourceResult><StackResourceDetail><Metadata>%s</Metadata></StackResourceDetail>"
    b"</DescribeStackResourceResult></R>"
)
XMLS = (
    XML % spelled(METADATA).replace(b"<", b"&lt;"),
    XML % b"{}",
    b'<!DOCTYPE a [<!ENTITY x "x"><!ENTITY y "&x;&x;">]>' + XML % b"&y;",
    XML % (b"<a>" * 20_000),
    b"<a>" * 100_000,
    b'<?xml version="1.0" encoding="utf-7"?>' + XML % b"{}",
    b'<?xml version="1.0" encoding="punycode"?>' + XML % b"{}",
    XML % b"&#0;&#xd800;",
    b'<a xmlns:x="' + b"x" * 50_000 + b'"/>',
)
SETTINGS = {
    "heat": {"auth_url": URL, "user_id": "u", "password": "p", "project_id": "p", "stack_id": "s/1"},
    "zaqar": {"auth_url": URL, "user_id": "u", "password": "p", "project_id": "p", "queue_id": "q"},
    "cfn": {"metadata_url": f"{URL}/v1/", "stack_name": "s", "path": "server.Metadata", "access_key_id": "a"},
    "request": {"metadata_url": f"{URL}/m"},
    "ec2": {"metadata_url": URL},
}
MORE = {"heat": {"resource_name": "r", "region_name": "One"}, "cfn": {"secret_access_key": "k"}}


class Cloud:
    """Stands where the client stands: whatever is asked is answered with these bodies in turn."""

    def __init__(self, *bodies: bytes, status: int = 200) -> None:
        self.limits = Limits()
        self._bodies = itertools.cycle(bodies)
        self._status = status

    def request(self, _method: str, _url: str, **_: Any) -> Response:
        return Response(self._status, {"x-subject-token": "t", "etag": "e"}, next(self._bodies))


class Signed(Cloud):
    """A Keystone without fault."""

    def __init__(self) -> None:
        super().__init__(spelled(TOKEN))


def source(name: str, sent: st.SearchStrategy[bytes]) -> Door:
    """What a source answers, and all that is made of it before a hook is begun."""

    def take(bodies: list[bytes], root: Path) -> None:
        flags = {f"{name}.{key}": text for key, text in {**SETTINGS[name], **MORE.get(name, {})}.items()}
        given = Given(root, flags)
        client: Any = Cloud(*bodies)
        keystone: Any = Signed()
        for found in COLLECTORS[name].collect(given.settings(), client, Tokens(keystone), ()):
            follow(given, found)

    return Door(f"source {name}", st.lists(sent, min_size=1, max_size=3), take)


def follow(given: Given, document: Document) -> None:
    """The way of a document through the engine, up to the hooks."""
    merged = merge.merge((document,))
    section = merged.get("os-collect-config")
    with suppress(SettingsError):  # the settings stay as they were
        given.settings(section if isinstance(section, dict) else {})
    listed = parse.deployments(document).deployments
    for deployment in listed:
        parse.for_executable(deployment)
        masking.value(deployment.raw)
        reading.input_values(deployment)
        with suppress(AgentError):
            statement.signed(deployment.listed)
        with suppress(AgentError):
            if progress.wanted(deployment):
                progress.handle(deployment, Own())
    entries = {deployment.key: Entry(deployment.key, UNKNOWN) for deployment in listed}
    tuple(plan(listed, entries, has_hook=lambda _: False, now=1.0, grace_s=1.0, fresh=(document.source,)))


def address(sent: tuple[str, str, str, str], root: Path) -> None:
    """A URL that metadata names: for signals, for Keystone, for the API; nobody listens at any of them."""
    scheme, host, path, extra = map(jsontext.whole_text, sent)
    url = f"{scheme}{host}{path}"
    shown = show(url)
    assert "sesame" not in shown
    told: Any = {"inputs": [{"name": "deploy_signal_id", "type": "String", "value": url}], "options": {"progress": url}}
    deployment = parse.deployment({**DEPLOYMENT, **told})
    known = Own(access_key="a", secret_key="k")
    with closing(Client(Limits(0.3, 0.3, 0.5))) as client:
        for act in (
            lambda: client.request("POST", url, headers={"X-Auth-Token": extra}, body=b"{}"),
            lambda: signaller.send(deployment.endpoint, {}, client, Tokens(client), known),
            lambda: Tokens(client).get(replace(WHO, auth_url=url, user_id=extra)),
            lambda: sign_v2("GET", url, {"a": extra}, "a", extra),
            lambda: progress.handle(deployment, known),
            lambda: Tokens(client).lent_to(client),
        ):
            with suppress(AgentError):
                act()


def keystone(bodies: tuple[bytes, str], _root: Path) -> None:
    body, region = bodies
    client: Any = Cloud(body, status=201)
    token = Tokens(client).get(WHO)
    token.endpoint("orchestration", region)


def headers(sent: dict[str, str], _root: Path) -> None:
    wait = answers.retry_after(sent)
    assert 0.0 <= wait <= 3600.0
    answers.clock_skew(sent)
    with suppress(AgentError):
        answers.judge("GET http://x", Response(503, sent, b"\xff" * 300))


def http(sent: tuple[list[bytes], float], _root: Path) -> None:
    """Bytes where an answer is expected, some of them slowly."""
    pieces, pause_s = sent
    with closing(Peer()) as peer, closing(Client(Limits(0.5, 0.2, 0.4, 1 << 20))) as client:
        peer.answers["/x"] = Raw(pieces, pause_s)
        client.request("GET", f"{peer.url}/x")


def websocket(sent: tuple[bytes, list[bytes]], root: Path) -> None:
    """A service that shakes hands, or says something else, and then sends what it likes."""
    greeting, frames = sent
    with socket.create_server(("127.0.0.1", 0)) as server:
        serving = threading.Thread(target=_serve, args=(server, greeting, frames), daemon=True)
        serving.start()
        where = f"ws://127.0.0.1:{server.getsockname()[1]}"
        flags = {f"zaqar.{key}": text for key, text in SETTINGS["zaqar"].items()}
        services = [{"type": "messaging-websocket", "endpoints": [{"interface": "public", "url": where}]}]
        client: Any = Cloud(spelled({"token": {"expires_at": "2099-01-01T00:00:00Z", "catalog": services}}))
        with closing(Subscription()) as subscription:
            if subscription.tend(Given(root, flags).settings(), Tokens(client), 0.0):
                subscription.take(0.0)
        serving.join(LONGEST_S)


def _serve(server: socket.socket, greeting: bytes, frames: list[bytes]) -> None:
    with suppress(OSError, ValueError), server.accept()[0] as link:
        link.settimeout(LONGEST_S)
        lines = (line.partition(b": ") for line in link.recv(4096).split(b"\r\n"))
        key = next((value for name, _, value in lines if name.lower() == b"sec-websocket-key"), b"")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        upgrade = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        link.sendall(greeting or upgrade + b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n")
        for frame in frames:
            link.sendall(frame)


def framed(text: bytes, head: int = 0x81) -> bytes:
    size = bytes([len(text)]) if len(text) < 126 else b"\x7e" + min(len(text), 65535).to_bytes(2, "big")
    return bytes([head]) + size + text[:65535]


JSONS = document([METADATA], KEYS)
ANSWERS = [
    {"request": {"action": "authenticate"}, "headers": {"status": 200}},
    {"request": {"action": "subscription_create"}, "headers": {"status": 201}},
    {"body": METADATA},
]
FRAMES = st.builds(
    framed,
    document(ANSWERS, ("request", "action", "headers", "status")),
    st.sampled_from((0x81, 0x82, 0x88, 0x89, 0x01, 0xFF)),
)
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nRetry-After: 5\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\n\r\n{}"
HTTP = (
    GOOD,
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: //\xff/%zz\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: ٣\r\n\r\n".encode(),
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"f" * 70 + b"\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate, gzip, br\r\nContent-Length: 3\r\n\r\nabc",
    b"HTTP/1.1 99999 OK\r\n\r\n",
    b"HTTP/9.9 200\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\n" * 200,
    b"HTTP/1.1 503 x\r\nRetry-After: " + b"9" * 400 + b"\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 401 x\r\nDate: Mon, 99 Jan 9999 99:99:99 +9999999\r\nContent-Length: 0\r\n\r\n",
)
HOSTS = (
    *(
        "127.0.0.1:9",
        "[::1]:9",
        "[",
        "]",
        "127.0.0.1:99999",
        "127.0.0.1:x",
        "",
        "u:sesame@127.0.0.1:9",
        "127.0.0.1:9\n",
    ),
    *("[::1", "127.0.0.1:", "127.0.0.1:٩", "@127.0.0.1:9", "[fe80::1%25lo]:9", "\ud800", "127.0.0.1:9\0", "[v1.x]"),
)
DATES = ("Thu, 01 Jan 1970 00:00:00 +9999999999999", "Mon, 99 Jan 99999 99:99:99", "1 Jan 0000 00:00 -0000", "5", "-1")
TREE = (b"a\nb/\n0=key\n", b"x/\n" * 50, b"../\n", b"a" * 5000, b"\xff\n", b"=\n", b"/\n", b"hostname")

DOORS = (
    source("heat", document([{"metadata": METADATA}], KEYS)),
    source("request", JSONS),
    source("zaqar", document([MESSAGES], KEYS)),
    source("cfn", damaged(XMLS) | st.sampled_from(ODD) | JSONS.map(lambda body: XML % body.replace(b"<", b"&lt;"))),
    source("ec2", damaged(TREE) | st.sampled_from(TREE)),
    Door(
        "address",
        st.tuples(
            st.sampled_from(("http://", "https://", "http:", "ftp://", "HTTP://", "", "//", "file://", "ws://")),
            st.sampled_from(HOSTS),
            word | st.sampled_from(("/v1/signal/x?Signature=sesame", "/%zz", "/a b", "/\r\nX: y", "?#", "/ü")),
            word,
        ),
        address,
    ),
    Door("keystone", st.tuples(document([TOKEN], KEYS), st.sampled_from(("", "One", "Two"))), keystone),
    Door(
        "headers of an answer",
        st.dictionaries(st.sampled_from(("retry-after", "date")), word | st.sampled_from(DATES) | scalar.map(str)),
        headers,
    ),
    Door(
        "http",
        st.tuples(st.lists(damaged(HTTP) | st.sampled_from(HTTP), max_size=3), st.sampled_from((0.0, 0.0, 0.0, 0.1))),
        http,
    ),
    Door(
        "websocket",
        st.tuples(
            st.just(b"") | damaged(HTTP),
            st.lists(
                FRAMES | damaged([framed(spelled(answer)) for answer in ANSWERS]) | st.binary(max_size=20), max_size=4
            ),
        ),
        websocket,
    ),
)
