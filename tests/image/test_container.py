"""The container in the place of Magnum's heat-container-agent: its command, its mounts, its environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from shipping import container
from tests.conftest import require
from tests.containers import engine
from tests.containers.install import missing
from tests.image.test_boot import SCRIPT
from tests.process.endpoint import Endpoint, listening
from tests.waiting import LONGEST_S, until

TAG = "localhost/os-deploy-agent:test"
COMMAND = "/usr/bin/start-heat-container-agent"
# As heat-container-agent.service of Magnum's Fedora CoreOS driver mounts them; but for --privileged, which would give
# the test's container this machine's network.
MOUNTS = ("srv/magnum", "opt/stack/os-config-refresh", "run/systemd", "etc", "var/lib", "var/run", "var/log", "tmp")
LEFT_OUT = ("usr/share/zoneinfo", "usr/share/perl", "usr/lib/systemd", "usr/lib/udev", "usr/lib/python3/dist-packages")


@pytest.fixture(scope="module")
def podman(debian: Path) -> Iterator[Path]:
    """An engine with our image, built from the guest's root file system without a network."""
    require(not missing(), f"needs {', '.join(missing())}: python -m tests.containers install")
    with an_engine() as directory:
        archive = ["tar", "-C", str(debian), *(f"--exclude=./{name}/*" for name in LEFT_OUT), "-cf", "-", "."]
        packed = subprocess.run(archive, stdout=subprocess.PIPE, check=True, timeout=LONGEST_S).stdout
        engine.podman(directory, "import", "-", "localhost/base:1", stdin=packed)
        environ = {"PATH": os.environ["PATH"], "HOME": str(directory), **engine.own_variables(directory)}
        options = ("--isolation=chroot", "--layers=false", "--pull=never")
        arguments = {"BASE": "localhost/base:1", "PACKAGES": ""}
        container.build(TAG, engine="podman", environ=environ, arguments=arguments, options=options)
        yield directory


@contextmanager
def an_engine() -> Iterator[Path]:
    """A directory for an engine that copies no layer: a root file system is much to copy."""
    directory = Path(tempfile.mkdtemp(prefix="engine-"))
    storage = engine.STORAGE_CONF.replace("vfs", "overlay")
    for name, text in (("containers.conf", engine.CONTAINERS_CONF), ("storage.conf", storage)):
        (directory / name).write_text(text.format(directory=directory))
    try:
        yield directory
    finally:
        engine.clear(directory)
        engine.podman(directory, "rmi", "--all", "--force")
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """What the host shares: its files as the old agent left them, with copies of that one's own scripts."""
    for name in MOUNTS:
        (tmp_path / name).mkdir(parents=True)
    hook = tmp_path / "var/lib/heat-config/hooks/script"
    phase = tmp_path / "opt/stack/os-config-refresh/configure.d/50-heat-config-docker-compose"
    for path in (hook, phase):
        path.parent.mkdir(parents=True)
        path.write_text("#!/usr/bin/env python-of-the-old-image\n")
        path.chmod(0o755)
    (tmp_path / "etc/os-collect-config.conf").write_text("[DEFAULT]\ncommand = os-refresh-config\n")
    return tmp_path


def test_the_container_takes_the_place_of_magnums(podman: Path, host: Path) -> None:
    bundle = host / "etc/pki/tls/certs/ca-bundle.crt"
    bundle.parent.mkdir(parents=True)
    bundle.write_text(Path("/etc/ssl/certs/ca-certificates.crt").read_text())
    mounts = [word for name in MOUNTS for word in ("--volume", f"{host / name}:/{name}")]
    with listening() as endpoint:
        endpoint.serve(endpoint.script("web", SCRIPT.replace("/root/ran", "/srv/magnum/ran")))
        tell(host, endpoint)
        variables = ("--env", f"REQUESTS_CA_BUNDLE=/{bundle.relative_to(host)}")

        engine.podman(podman, "run", "--detach", "--name", "agent", *mounts, *variables, TAG, COMMAND)
        until(lambda: endpoint.signals, "the signal")
        engine.podman(podman, "stop", "--time", "120", "agent")

        assert ("COMPLETE", "") == (endpoint.signals[0].judged, endpoint.signals[0].stderr)
        assert "ran\n" == (host / "srv/magnum/ran").read_text()
        assert (host / "var/lib/heat-config/deployed/id-web.json").exists()
        assert "0" == engine.podman(podman, "inspect", "--format", "{{.State.ExitCode}}", "agent").strip()


def tell(host: Path, endpoint: Endpoint) -> None:
    """Ignition's file, as Heat adds it to the user data."""
    path = host / "var/lib/heat-cfntools/cfn-init-data"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"os-collect-config": {"request": {"metadata_url": endpoint.metadata_url}}}))
    path.chmod(0o640)


def test_the_old_command_names_are_in_the_container(podman: Path) -> None:
    said = engine.podman(podman, "run", "--rm", TAG, "os-collect-config", "--version")

    assert said.strip()


def test_a_bundle_that_is_not_there_is_no_fault(podman: Path, host: Path) -> None:
    lines = engine.podman(
        podman, "run", "--rm", "--env", "REQUESTS_CA_BUNDLE=/none", "--entrypoint", "sh", TAG, "-c",
        f"sed 's/^exec .*/env/' {COMMAND} | sh",
    ).splitlines()  # fmt: skip

    assert not [line for line in lines if line.startswith("OS_DEFAULT__CA_FILE")]
    assert "OS_DEFAULT__HOOK_DIRS=/var/lib/os-deploy-agent/hooks" in lines
