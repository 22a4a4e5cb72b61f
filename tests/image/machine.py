"""A machine of an image in a cloud of its own: its user data by one of cloud-init's sources, and what it may reach."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.conftest import require
from tests.guest.guest import Guest, boot
from tests.lab import install as lab
from tests.process.endpoint import Endpoint, answer, listening
from tests.waiting import LONGEST_S

PORT = 8080  # of the endpoint; every machine has a loopback of its own
SERVICE = ("169.254.169.254", 80)
NEWEST = "2018-08-27"  # of the versions that cloud-init knows
PROGRAM = Path(__file__).with_name("heat_user_data.py")
# There is no locale, no sshd and no interface to configure in this root.
HABITS = "network: {config: disabled}\nlocale: false\nssh_genkeytypes: []\n"


@dataclass(frozen=True)
class Instance:
    """What the cloud says of one server."""

    id: str
    user_data: str

    @property
    def meta_data(self) -> str:
        return json.dumps({"uuid": self.id, "name": "server", "hostname": "server"})


def user_data(metadata: Mapping[str, Any], form: str = "SOFTWARE_CONFIG", script: str = "") -> str:
    """What Heat itself makes of a server's metadata and its owner's script."""
    venv = lab.installed()
    require(venv, "needs Heat: python -m tests.lab install")
    given = {"metadata": metadata, "user_data": script, "format": form, "cfn_url": f"http://127.0.0.1:{PORT}/v1/"}
    done = subprocess.run(
        [f"{venv}/bin/python", PROGRAM], input=json.dumps(given), capture_output=True, text=True, timeout=LONGEST_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def bootstrap(**more: Any) -> dict[str, Any]:
    """Metadata that sends the agent to the endpoint."""
    return {"os-collect-config": {"request": {"metadata_url": f"http://127.0.0.1:{PORT}/metadata.json"}, **more}}


def no_cloud(root: Path, instance: Instance) -> None:
    _write(root, "cloud/seed/nocloud/user-data", instance.user_data)
    _write(root, "cloud/seed/nocloud/meta-data", f"instance-id: {instance.id}\n")
    _configure(root, "NoCloud")


def config_drive(root: Path, instance: Instance) -> None:
    _write(root, "cloud/seed/config_drive/openstack/latest/user_data", instance.user_data)
    _write(root, "cloud/seed/config_drive/openstack/latest/meta_data.json", instance.meta_data)
    _configure(root, "ConfigDrive")


def service(root: Path, _instance: Instance) -> None:
    """Nothing on the disk: cloud-init asks the metadata service."""
    _configure(root, "OpenStack")


Source = Callable[[Path, Instance], None]


@contextmanager
def machine(
    image: Path,
    source: Source,
    instance: Instance,
    *,
    prepare: Callable[[Path], object] = lambda _root: None,
    listen: Callable[[ExitStack], object] = lambda _stack: None,
    ready: Callable[[Endpoint], object] = lambda _endpoint: None,
) -> Iterator[tuple[Guest, Endpoint]]:
    """A machine that has booted, cloud-init included, and the endpoint that its user data may name.

    Before it boots, `prepare` is given its root, `listen` opens ports in its network, `ready` is given the endpoint.
    """
    firmware = {"product_name": "OpenStack Nova"} if source is service else {}

    def equip(root: Path) -> None:
        source(root, instance)
        prepare(root)

    with ExitStack() as stack:

        def connect() -> Endpoint:
            listen(stack)
            if source is service:
                stack.enter_context(_serving(instance))
            endpoint = stack.enter_context(listening(PORT))
            ready(endpoint)
            return endpoint

        made: list[Endpoint] = []
        guest = stack.enter_context(
            boot(image, prepare=equip, environment=firmware, listen=lambda: made.append(connect()))
        )
        yield guest, made[0]


def _write(root: Path, name: str, text: str) -> None:
    path = root / "var/lib" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _configure(root: Path, source: str) -> None:
    text = f"datasource_list: [{source}, None]\n{HABITS}"
    (root / "etc/cloud/cloud.cfg.d/95-test.cfg").write_text(text)


@contextmanager
def _serving(instance: Instance) -> Iterator[None]:
    """Nova's metadata service for one server."""
    known = {
        "/openstack": f"2012-08-10\n{NEWEST}\nlatest",
        f"/openstack/{NEWEST}/meta_data.json": instance.meta_data,
        f"/openstack/{NEWEST}/user_data": instance.user_data,
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = known.get(self.path.rstrip("/"))
            answer(self, 404 if found is None else 200, (found or "").encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(SERVICE, Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()
