"""Faults as they happen to guests: each prepares one, and says which cause the doctor should name."""

from __future__ import annotations

import datetime
import ipaddress
import json
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.fakes import Peer, Reply
from tests.process.endpoint import Endpoint, answer, answering
from tests.process.guest import Guest, kill
from tests.waiting import LONGEST_S, until

NOBODY = "http://nobody.invalid"
CLOSED = "http://127.0.0.1:9"
FINE = "#!/bin/sh\nexit 0\n"
GATED = "#!/bin/sh\necho begin >> $WITNESS\nsleep 600\n"
HOUR = datetime.timedelta(hours=1)


@dataclass
class Scene:
    """A guest, its endpoint, and what is to be undone when the test is over."""

    guest: Guest
    endpoint: Endpoint
    undo: ExitStack
    directory: Path

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.guest.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        return path

    def ask_of(self, **flags: str) -> None:
        self.guest.flags.update(flags)

    def deploy(self, config: str = FINE, *, group: str = "script", **more: Any) -> None:
        """A deployment called web, run once."""
        self.endpoint.serve(self.endpoint.script("web", config, group=group, **more))
        self.guest.once()


Prepare = Callable[[Scene], object]
FAULTS: dict[str, tuple[Prepare, str]] = {}


def fault(code: str, *variants: Any) -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Register a fault, or one for each variant."""

    def register(prepare: Callable[..., object]) -> Callable[..., object]:
        name = prepare.__name__.replace("_", " ")
        for variant in variants:
            FAULTS[f"{name}: {variant}"[:100]] = (lambda scene, v=variant: prepare(scene, v), code)
        if not variants:
            FAULTS[name] = (prepare, code)
        return prepare

    return register


# ------------------------------------------------------------------------------------------ this machine


@fault("settings-broken", "[DEFAULT]\npolling_interval = soon\n", "no setting at all", "[DEFAULT]\nproxy = \udcff")
def a_settings_file(scene: Scene, text: str) -> None:
    path = scene.write("etc/os-deploy-agent/agent.conf", "")
    path.write_bytes(text.encode("utf-8", "surrogateescape"))


@fault("settings-broken")
def settings_that_others_may_write(scene: Scene) -> None:
    scene.write("etc/os-deploy-agent/agent.conf", "[DEFAULT]\n", 0o666)


@fault("no-bootstrap")
def a_server_without_software_config(scene: Scene) -> None:
    scene.ask_of(collectors="heat_local,cfn,heat", request_metadata_url="")


@fault("flags-missing")
def a_source_that_only_flags_named(scene: Scene) -> None:
    scene.guest.once()
    scene.ask_of(request_metadata_url="", collectors="heat_local")


@fault("bootstrap-unreadable", "", "{", "[1]", "<html>")
def what_cloud_init_left_is(scene: Scene, text: str) -> None:
    scene.ask_of(collectors="heat_local,heat", request_metadata_url="")
    scene.write("var/lib/heat-cfntools/cfn-init-data", text)


# -------------------------------------------------------------------------------------- the way to a source

SECTIONS = {
    "cfn": {"metadata_url": "{}/v1/", "stack_name": "s", "path": "server.Metadata", "access_key_id": "a"},
    "heat": {"auth_url": "{}/v3", "user_id": "u", "password": "p", "project_id": "p", "stack_id": "s/1"},
    "zaqar": {"auth_url": "{}/v3", "user_id": "u", "password": "p", "project_id": "p", "queue_id": "q"},
}
MORE = {"cfn": {"secret_access_key": "k"}, "heat": {"resource_name": "server"}, "zaqar": {}}


def bootstrapped(scene: Scene, name: str, address: str) -> None:
    """The guest's only source is one that cloud-init's file configures."""
    section = {key: value.format(address) for key, value in {**SECTIONS[name], **MORE[name]}.items()}
    scene.ask_of(collectors=f"heat_local,{name}", request_metadata_url="")
    overlay = {"collectors": ["heat_local", name], name: section}
    scene.write("var/lib/heat-cfntools/cfn-init-data", json.dumps({"os-collect-config": overlay}), 0o600)


@fault("dns", *SECTIONS)
def a_name_that_nobody_knows(scene: Scene, name: str) -> None:
    bootstrapped(scene, name, NOBODY)


@fault("connection-refused", *SECTIONS)
def a_port_where_nobody_listens(scene: Scene, name: str) -> None:
    bootstrapped(scene, name, CLOSED)


@fault("dns")
def a_name_of_a_web_server_that_nobody_knows(scene: Scene) -> None:
    scene.ask_of(request_metadata_url=f"{NOBODY}/metadata.json")


@fault("connection-refused")
def a_web_server_that_is_down(scene: Scene) -> None:
    scene.ask_of(request_metadata_url=f"{CLOSED}/metadata.json")


@fault("no-answer")
def a_server_that_takes_connections_and_says_nothing(scene: Scene) -> None:
    deaf = scene.undo.enter_context(socket.create_server(("127.0.0.1", 0)))
    scene.ask_of(request_metadata_url=f"http://127.0.0.1:{deaf.getsockname()[1]}/metadata.json")


@fault("proxy", CLOSED, NOBODY)
def a_proxy_that_is_not_there(scene: Scene, address: str) -> None:
    scene.ask_of(proxy=address)


@fault("credentials-refused", 401, 403)
@fault("server-failing", 500, 502, 503)
@fault("not-found", 404)
def a_source_that_answers(scene: Scene, status: int) -> None:
    scene.endpoint.metadata_status = status


@fault("not-metadata", b"<html>please log in</html>", b"[]", b'{"deployments": [', b"null", b"\xff\xfe")
def a_document_that_is_none(scene: Scene, document: bytes) -> None:
    scene.endpoint.document = document


@fault("clock-skew", 7200, -7200)
def a_server_whose_clock_differs(scene: Scene, seconds: int) -> None:
    scene.ask_of(request_metadata_url=f"http://127.0.0.1:{scene.undo.enter_context(dated(seconds))}/metadata.json")


@contextmanager
def dated(seconds: float) -> Iterator[int]:
    """A web server that believes in another time."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self, 200, b"{}")

        do_HEAD = do_GET  # noqa: N815 - http.server wants it so

        def date_time_string(self, timestamp: float | None = None) -> str:
            now = datetime.datetime.now(datetime.timezone.utc).timestamp()
            return formatdate((timestamp or now) + seconds, usegmt=True)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@fault("tls-untrusted", (-HOUR, HOUR, "127.0.0.1", False))
@fault("tls-expired", (-2 * HOUR, -HOUR, "127.0.0.1", True))
@fault("clock-skew", (HOUR, 2 * HOUR, "127.0.0.1", True))
@fault("tls-name", (-HOUR, HOUR, "192.0.2.1", True))
def a_certificate(scene: Scene, facts: tuple[datetime.timedelta, datetime.timedelta, str, bool]) -> None:
    begins, ends, address, known = facts
    authority = certificate(scene.directory, begins, ends, address)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(scene.directory / "server.pem", scene.directory / "server.key")
    port = scene.undo.enter_context(tls_server(context))
    scene.ask_of(request_metadata_url=f"https://127.0.0.1:{port}/m.json", ca_file=str(authority) if known else "")


@fault("certificate-ends")
def a_certificate_that_ends_within_the_hour(scene: Scene) -> None:
    authority = certificate(scene.directory, -HOUR, HOUR, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(scene.directory / "server.pem", scene.directory / "server.key")
    peer = scene.undo.enter_context(closing(Peer(context)))
    peer.answers["/m.json"] = Reply(200, b'{"deployments": []}')
    scene.ask_of(request_metadata_url=f"{peer.url}/m.json", ca_file=str(authority))
    scene.guest.once()


@fault("tls-failed")
def an_https_url_of_a_plain_server(scene: Scene) -> None:
    scene.ask_of(request_metadata_url=scene.endpoint.metadata_url.replace("http:", "https:"))


@contextmanager
def tls_server(context: ssl.SSLContext) -> Iterator[int]:
    with dated_server() as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@contextmanager
def dated_server() -> Iterator[ThreadingHTTPServer]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """A client that does not believe us is what these tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        yield server


def certificate(directory: Path, begins: datetime.timedelta, ends: datetime.timedelta, address: str) -> Path:
    """server.pem and server.key in the directory, of a CA that is good; returns the CA's file."""
    now = datetime.datetime.now(datetime.timezone.utc)
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    root = (
        x509.CertificateBuilder(issuer, issuer, authority.public_key(), x509.random_serial_number())
        .not_valid_before(now - 10 * HOUR)
        .not_valid_after(now + 10 * HOUR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(authority, hashes.SHA256())
    )
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
    server = (
        x509.CertificateBuilder(issuer, x509.Name([]), key.public_key(), x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(names, critical=True)
        .sign(authority, hashes.SHA256())
    )
    private = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (directory / "server.key").write_bytes(key.private_bytes(*private))
    (directory / "server.pem").write_bytes(server.public_bytes(serialization.Encoding.PEM))
    (directory / "ca.pem").write_bytes(root.public_bytes(serialization.Encoding.PEM))
    return directory / "ca.pem"


# --------------------------------------------------------------------------------------------- deployments


@fault("source-unanswered")
def a_source_that_was_named_on_the_command_line_alone(scene: Scene) -> None:
    scene.ask_of(collectors="local")
    scene.guest.once(collectors="request", request_metadata_url=CLOSED)


@fault("source-unanswered")
def a_local_file_that_is_cut_short(scene: Scene) -> None:
    scene.write("var/lib/os-collect-config/local-data/web.json", '{"deployments": [{')
    scene.ask_of(collectors="local")
    scene.guest.once()


@fault("agent-not-running")
def work_and_nobody_to_do_it(scene: Scene) -> None:
    scene.endpoint.serve(scene.endpoint.script("web", FINE))


@fault("agent-not-running")
def an_agent_that_was_killed_before_its_work(scene: Scene) -> None:
    scene.endpoint.serve(scene.endpoint.script("web", FINE, group="odd"))
    agent = scene.guest.start("run", hook_grace="600")
    until(lambda: "received" in scene.guest.states().values(), "the deployment to be held")
    agent.send_signal(signal.SIGKILL)
    agent.wait(LONGEST_S)


@fault(
    "malformed", {"inputs": 1}, {"options": {"timeout": "soon"}}, {"group": "component", "config": {}}, {"id": "a/b"}
)
def a_deployment_with(scene: Scene, wrong: dict[str, Any]) -> None:
    known = scene.endpoint.script("web", FINE)
    scene.endpoint.serve({**known, **wrong})
    scene.guest.once()


@fault(
    "policy-refuses",
    "version: 1\ngroups: [ansible]\n",
    "version: 1\nsources: [heat]\n",
    "version: 1\nrun_as: [nobody]\n",
    "version: 2\n",
    "{",
)
def a_policy_that_says(scene: Scene, text: str) -> None:
    scene.write("etc/os-deploy-agent/policy.yaml", text)
    scene.deploy()


@fault("no-hook", "magic", "Script")
def a_group_that_nobody_serves(scene: Scene, group: str) -> None:
    scene.deploy(group=group)


@fault("hook-unfit", 0o644, 0o777)
def a_hook_of_mode(scene: Scene, mode: int) -> None:
    scene.write("var/lib/heat-config/hooks/magic", FINE, mode)
    scene.deploy(group="magic")


@fault("tool-missing", "chef", "kubelet-of-old")
def a_tool_that_is_not_installed(scene: Scene, group: str) -> None:
    if group == "chef":
        scene.deploy("[]", group=group)
    else:
        scene.write(f"var/lib/heat-config/hooks/{group}", "#!/nowhere/sh\n", 0o755)
        scene.deploy(group=group)


@fault("hook-failed", "exit 3", "kill -9 $$", "nonsense-of-a-command")
def a_script_that_fails(scene: Scene, line: str) -> None:
    scene.deploy(f"#!/bin/sh\n{line}\n")


@fault("hook-timed-out")
def a_script_that_hangs(scene: Scene) -> None:
    scene.deploy("#!/bin/sh\nsleep 60\n", options={"timeout": 0.3})


@fault("error-output")
def an_output_that_means_failure(scene: Scene) -> None:
    outputs = [{"name": "problem", "type": "String", "error_output": True}]
    scene.deploy("#!/bin/sh\nprintf x > $heat_outputs_path.problem\n", outputs=outputs)


@fault("interrupted")
def an_agent_and_a_runner_that_were_killed(scene: Scene) -> None:
    begin(scene, "web")
    kill(scene.guest.runners())
    scene.guest.once()


@fault("hook-running", "web", "web and database")
def a_script_that_takes_its_time(scene: Scene, names: str) -> None:
    begin(scene, *names.split(" and "))


def begin(scene: Scene, *names: str) -> None:
    """A daemon whose first deployment runs."""
    scene.endpoint.serve(*(scene.endpoint.script(name, GATED) for name in names))
    scene.guest.start("run", polling_interval="0.2", min_polling_interval="0.1")
    until(lambda: scene.guest.seen() == ["begin"] and scene.guest.runners(), "the hook to begin")


@fault("reboot-pending")
def a_hook_that_wants_a_reboot(scene: Scene) -> None:
    scene.ask_of(reboot_command="true")
    scene.deploy("#!/bin/sh\nexit 194\n")


# ------------------------------------------------------------------------------------------------- signals


@fault("url-expired", 403)
@fault("signal-refused", 404)
@fault("signal-undelivered", 500, 429)
def a_signal_that_is_answered(scene: Scene, status: int) -> None:
    scene.endpoint.spoil = answering(status, b"no")
    scene.ask_of(once_patience="0.1")
    scene.deploy()


@fault("dns", NOBODY)
@fault("connection-refused", CLOSED)
def a_signal_url(scene: Scene, address: str) -> None:
    scene.ask_of(once_patience="0.1")
    known = scene.endpoint.script("web", FINE)
    known["inputs"][1]["value"] = f"{address}/signal"
    scene.endpoint.serve(known)
    scene.guest.once()


@fault("superseded")
def an_outcome_whose_deployment_has_left(scene: Scene) -> None:
    scene.endpoint.spoil = answering(500)
    scene.ask_of(once_patience="0.1")
    scene.deploy()
    scene.endpoint.serve()
    scene.guest.once()


@fault("nothing-listed", b"{}", b'{"deployments": []}')
def metadata_without_deployments(scene: Scene, document: bytes) -> None:
    scene.endpoint.document = document
    scene.guest.once()


@fault("nothing-wrong")
def a_deployment_that_is_done(scene: Scene) -> None:
    scene.deploy()
