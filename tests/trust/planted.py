"""Twelve secrets, a guest and a cloud that know them, and everywhere that somebody else might find one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import stat
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from agent import log
from agent.cli.main import main
from agent.hooks.workplace import RUN_MARK
from agent.live import JOURNALD
from tests.fakes import Peer, Reply
from tests.process.guest import MARK, Guest

PLANTED = {
    what: f"planted{number:02}{what.replace(' ', '')[::-1]}x9Qz"
    for number, what in enumerate(
        (
            *("password", "auth token", "url signature", "temp url key", "named input", "typed input"),
            *("named output", "client key", "cfn key", "queue url", "url user", "wait token"),
        ),
        1,
    )
}
STACK = "web/dd50582a"
TRANSPORTS = ("CFN_SIGNAL", "TEMP_URL_SIGNAL", "HEAT_SIGNAL", "ZAQAR_SIGNAL")


def forms(secret: str) -> tuple[bytes, ...]:
    """How a secret may be spelled."""
    return secret.encode(), quote(secret, safe="").encode(), secret.encode().hex().encode()


def found_in(data: bytes, where: str) -> list[str]:
    return [f"{what} in {where}" for what, secret in PLANTED.items() if any(form in data for form in forms(secret))]


# ------------------------------------------------------------------------------------------------- the cloud


def cloud() -> Peer:
    """Keystone, Heat, Swift and Zaqar at one address."""
    made = Peer()
    services = [
        {"type": kind, "endpoints": [{"interface": "public", "region_id": "One", "url": f"{made.url}/{kind}"}]}
        for kind in ("orchestration", "messaging")
    ]
    token = json.dumps({"token": {"expires_at": "2099-01-01T00:00:00Z", "catalog": services}}).encode()
    made.answers["/v3/auth/tokens"] = Reply(201, token, {"X-Subject-Token": PLANTED["auth token"]})
    return made


def door(transport: str, name: str) -> str:
    """The path at which the cloud takes the signal of a deployment."""
    return {
        "CFN_SIGNAL": f"/v1/signal/{name}",
        "TEMP_URL_SIGNAL": f"/swift/{name}",
        "HEAT_SIGNAL": f"/orchestration/stacks/{STACK}/resources/{name}/signal",
        "ZAQAR_SIGNAL": f"/messaging/v2/queues/q-{name}/messages",
    }[transport]


def inputs(peer: Peer, transport: str, name: str) -> dict[str, Any]:
    """What Heat lists for a deployment, and what its author declared."""
    user = {
        "deploy_auth_url": f"{peer.url}/v3",
        "deploy_user_id": "u",
        "deploy_password": PLANTED["password"],
        "deploy_project_id": "p",
        "deploy_region_name": "One",
    }
    key = "Signature" if transport == "CFN_SIGNAL" else "temp_url_sig"
    secret = PLANTED["url signature" if transport == "CFN_SIGNAL" else "temp url key"]
    url = {
        "deploy_signal_id": f"{peer.url}{door(transport, name)}?{key}={secret}",
        "deploy_signal_verb": "POST" if transport == "CFN_SIGNAL" else "PUT",
    }
    own = url if transport in ("CFN_SIGNAL", "TEMP_URL_SIGNAL") else user
    return {
        "deploy_signal_transport": transport,
        "deploy_stack_id": STACK,
        "deploy_resource_name": name,
        "deploy_queue_id": f"q-{name}" if transport == "ZAQAR_SIGNAL" else "",
        **own,
        "db_password": PLANTED["named input"],
        "motto": PLANTED["typed input"],
        "queue": f"{peer.url}/v2/queues/q/messages?URL-Signature={PLANTED['queue url']}",
        "wc_notify": f"curl -X POST -H 'X-Auth-Token: {PLANTED['wait token']}' {peer.url}/wait",
        "port": "80",
    }


def deployment(peer: Peer, transport: str, name: str, group: str, config: Any, **options: Any) -> dict[str, Any]:
    types = {"motto": "Secret"}
    listed = [
        {"name": key, "type": types.get(key, "String"), "value": known}
        for key, known in inputs(peer, transport, name).items()
        if known != ""
    ]
    return {
        "id": f"id-{name}",
        "name": name,
        "group": group,
        "config": config,
        "inputs": listed,
        "outputs": [{"name": "admin_token", "type": "String"}],
        "options": options,
    }


# ------------------------------------------------------------------------------------------------- the guest


def settle(guest: Guest, peer: Peer) -> None:
    """The guest's own secrets: in settings that root alone reads, and in a file that they name."""
    etc = guest.root / "etc/os-deploy-agent"
    etc.mkdir(parents=True)
    key = etc / "client.key"
    key.write_text(f"-----BEGIN PRIVATE KEY-----\n{PLANTED['client key']}\n-----END PRIVATE KEY-----\n")
    host = peer.url.partition("://")[2]
    (etc / "agent.conf").write_text(
        f"[DEFAULT]\nclient_cert={key}\nclient_key={key}\nmetrics_file=/metrics.prom\n"
        f"[request]\nmetadata_url=http://guest:{PLANTED['url user']}@{host}/metadata.json\n"
        f"[cfn]\naccess_key_id=a\nsecret_access_key={PLANTED['cfn key']}\nstack_name=web\n"
    )
    for path in etc.iterdir():
        path.chmod(0o600)
    guest.flags["request_metadata_url"] = ""


@dataclass
class Watch:
    """What others see of our processes while they run: command lines, and environments but for those of hooks."""

    mark: str
    leaks: set[str] = field(default_factory=set)
    seen: set[bytes] = field(default_factory=set)

    def look(self) -> None:
        wanted = f"{MARK}={self.mark}".encode()
        for entry in os.listdir("/proc"):
            if not entry.isdecimal():
                continue
            with contextlib.suppress(OSError):  # gone in between
                variables = Path(f"/proc/{entry}/environ").read_bytes()
                if wanted not in variables:
                    continue
                line = Path(f"/proc/{entry}/cmdline").read_bytes()
                self.seen.add(line)
                self.leaks |= set(found_in(line, f"the command line {line[:80]!r}"))
                if f"{RUN_MARK}=".encode() not in variables:
                    self.leaks |= set(found_in(variables, f"the environment of {line[:80]!r}"))


@contextlib.contextmanager
def watching(mark: str) -> Iterator[Watch]:
    """Look again and again for as long as this lasts."""
    watch, ending = Watch(mark), threading.Event()

    def look_on() -> None:
        while not ending.wait(0.1):
            watch.look()

    looker = threading.Thread(target=look_on, daemon=True)
    looker.start()
    try:
        yield watch
    finally:
        ending.set()
        looker.join()


@contextlib.contextmanager
def journald(root: Path) -> Iterator[socket.socket]:
    """Stands where systemd's journal listens."""
    path = root / JOURNALD.lstrip("/")
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        here = os.open(path.parent, os.O_PATH)  # the path itself may be too long for an address
        try:
            listening.bind(f"/proc/self/fd/{here}/{path.name}")
        finally:
            os.close(here)
        listening.setblocking(False)
        yield listening


def said_to(listening: socket.socket) -> bytes:
    said = b""
    with contextlib.suppress(BlockingIOError):
        while True:
            said += listening.recv(1 << 20)
    return said


# ----------------------------------------------------------------------------------------------- who looks on


def views(guest: Guest, names: list[str]) -> list[str]:
    """What leaks into what an operator is shown, into a report, and into the metrics."""
    leaks = []
    asked = [["status"], ["status", "--json"], ["history"], ["history", "--json"], ["timeline"], ["plan"]]
    asked += [["doctor", "--offline"], ["doctor", "--json", "--offline"], ["log"]]
    asked += [[*command, name] for name in names for command in (["show"], ["show", "--json"], ["log"])]
    report = guest.root / "report.tar.gz"
    for command in [*asked, ["report", str(report)]]:
        leaks += found_in(show(guest, command), " ".join(command[:2]))
    with tarfile.open(report) as bundle:
        for member in bundle:
            content = bundle.extractfile(member)
            leaks += found_in(content.read() if content else b"", f"the report's {member.name}")
    report.unlink()
    return leaks + found_in((guest.root / "metrics.prom").read_bytes(), "the metrics")


def show(guest: Guest, command: list[str]) -> bytes:
    said = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        with contextlib.suppress(SystemExit):
            main(guest.argv(*command)[3:])
        log.set_level("info")
    said.flush()
    said.seek(0)
    return said.read().encode()


def readable_by_all(root: Path) -> list[str]:
    """What leaks into files that everybody may read, by their own mode and those of the directories above."""
    leaks = []
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & stat.S_IROTH and _open_to_all(path, root):
            leaks += found_in(path.read_bytes(), str(path.relative_to(root)))
    return leaks


def at_rest(guest: Guest) -> list[str]:
    """What leaks into the agent's own files once everything was taken."""
    places = (guest.state, guest.deployed, guest.root / "var/log")
    files = [path for place in places for path in sorted(place.rglob("*")) if path.is_file()]
    return [leak for path in files for leak in found_in(path.read_bytes(), str(path.relative_to(guest.root)))]


def _open_to_all(path: Path, root: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents if parent.is_relative_to(root))
