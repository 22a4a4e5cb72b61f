"""The Debian package on a distribution's own machine: installed, upgraded in mid-hook, removed without a trace."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from shipping import deb
from shipping.cache import CHECKOUT
from tests.guest.guest import Guest
from tests.image import machine
from tests.image.machine import PORT, Instance, bootstrap
from tests.image.test_boot import OWN, UNIT, serve, wait_signals
from tests.process.endpoint import Endpoint
from tests.waiting import until

WAITS = "#!/bin/sh\necho ran >> /root/ran\nwhile [ ! -e /root/go ]; do sleep 0.1; done\necho went on\n"
# What the machine's own life changes, whatever is installed.
LIVELY = (
    "proc",
    "sys",
    "dev",
    "run",
    "tmp",
    "root",
    "var/cache",
    "var/log/dpkg.log",
    "var/log/journal",
    "var/lib/systemd",
    "var/tmp",
)
PACKAGE_PORT = 8081


@pytest.fixture(scope="session")
def package() -> Path:
    return deb.package()


@pytest.fixture(scope="session")
def newer() -> Path:
    return deb.package(version=f"{deb.agent.__version__}+upgraded")


@pytest.fixture
def installed(debian: Path, package: Path, newer: Path) -> Iterator[tuple[Guest, Endpoint]]:
    """A machine without the agent, with its bootstrap and both packages in /root."""

    def equip(root: Path) -> None:
        path = root / OWN
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(bootstrap()))
        shutil.copy(package, root / "root/first.deb")
        shutil.copy(newer, root / "root/newer.deb")

    nothing: Callable[[Path, Instance], None] = lambda _root, _instance: None  # noqa: E731 - no cloud-init
    with machine.machine(debian, nothing, Instance("", ""), prepare=equip) as made:
        yield made


def files(root: Path) -> set[str]:
    """Every file of a machine, but for what its own life changes."""
    found = {os.path.relpath(Path(at, name), root) for at, _, names in os.walk(root) for name in names}
    return {name for name in found if not name.startswith(LIVELY)}


def test_a_package_is_installed_upgraded_in_mid_hook_and_purged_without_a_trace(
    installed: tuple[Guest, Endpoint],
) -> None:
    guest, endpoint = installed
    endpoint.port = PORT
    endpoint.serve(endpoint.script("web", WAITS))
    before = files(guest.root)

    guest.ask("dpkg", "--install", "/root/first.deb")
    until((guest.root / "root/ran").exists, lambda: f"the hook\n{guest.run('journalctl', '-b').stdout[-4000:]}")
    old = guest.show(UNIT, "MainPID")
    guest.ask("dpkg", "--install", "/root/newer.deb")
    until(lambda: guest.show(UNIT, "MainPID") not in (old, "0"), lambda: "the agent's new version")
    (guest.root / "root/go").touch()
    wait_signals(guest, endpoint, 1)

    outcome = endpoint.signals[0]
    journal = guest.run("journalctl", "--boot", "--no-pager", "--output", "cat").stdout[-6000:]
    assert ("COMPLETE", "went on\n") == (outcome.judged, outcome.body["deploy_stdout"]), outcome.stderr + journal
    assert "ran\n" == (guest.root / "root/ran").read_text()
    assert "+upgraded" in guest.ask("dpkg-query", "--show", "os-deploy-agent")

    guest.ask("os-deploy-agent", "doors", "install", "/usr/local/bin")
    guest.ask("dpkg", "--remove", "os-deploy-agent")
    kept = files(guest.root) - before
    guest.ask("dpkg", "--purge", "os-deploy-agent")

    assert "var/lib/heat-config/deployed/id-web.json" in kept
    assert not [name for name in kept if name.startswith(("usr/lib", "usr/bin", "usr/local", "etc/systemd"))]
    assert set() == {name for name in files(guest.root) - before if not name.startswith("var/lib/dpkg")}
    assert "" == guest.run("systemctl", "list-units", "--all", "--no-legend", "os-deploy-agent*").stdout.strip()
    assert (guest.root / OWN).exists()


def test_a_server_of_a_plain_image_gets_the_agent_by_the_fragment(debian: Path, package: Path) -> None:
    text = (CHECKOUT / "examples/hot/boot.yaml").read_text()
    replaced = yaml.safe_load(text)["resources"]["agent"]["properties"]["config"]["str_replace"]
    script: str = replaced["template"]
    values = {
        "$PACKAGE_URL": f"http://127.0.0.1:{PACKAGE_PORT}/{package.name}",
        "$PACKAGE_SHA256": hashlib.sha256(package.read_bytes()).hexdigest(),
    }
    assert values.keys() == replaced["params"].keys()
    for name in sorted(values, key=len, reverse=True):
        script = script.replace(name, values[name])
    server = Instance("33333333-0000-4000-8000-000000000003", machine.user_data(bootstrap(), script=script))

    def listen(stack: ExitStack) -> None:
        handler = partial(SimpleHTTPRequestHandler, directory=str(package.parent))
        packages = stack.enter_context(ThreadingHTTPServer(("127.0.0.1", PACKAGE_PORT), handler))
        stack.callback(packages.shutdown)
        threading.Thread(target=packages.serve_forever, args=(0.02,), daemon=True).start()

    with machine.machine(debian, machine.no_cloud, server, listen=listen) as (guest, endpoint):
        serve(endpoint, "web")
        wait_signals(guest, endpoint, 1)

        assert "COMPLETE" == endpoint.signals[0].judged
        assert "enabled" == guest.ask("systemctl", "is-enabled", UNIT)
