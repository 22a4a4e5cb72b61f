"""A machine that the old tools ran, and the package in their place: history, credentials and scripts are kept."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from shipping import deb
from tests.image import machine
from tests.image.machine import PORT, Instance
from tests.image.test_boot import SCRIPT, UNIT, wait_signals
from tests.image.test_image import CHECKOUT
from tests.waiting import until

THEIRS = CHECKOUT / "tests/image/elements/theirs"
DEPLOYED = "var/lib/heat-config/deployed"
OLD_UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


def write(root: Path, name: str, text: str, mode: int = 0o600) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def ran_by_the_old_tools(root: Path) -> None:
    """What os-collect-config, os-refresh-config and heat-agents left behind, as their elements lay it out."""
    address = f"http://127.0.0.1:{PORT}/metadata.json"
    settings = f"[DEFAULT]\ncommand = os-refresh-config\n[request]\nmetadata_url = {address}\n"
    write(root, "etc/os-collect-config.conf", settings)
    write(root, "etc/systemd/system/os-collect-config.service", OLD_UNIT, 0o644)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    (wants / "os-collect-config.service").symlink_to("/etc/systemd/system/os-collect-config.service")
    write(root, f"{DEPLOYED}/id-old.json", json.dumps({"id": "id-old", "name": "old"}))
    write(root, f"{DEPLOYED}/id-old.notify.json", json.dumps({"deploy_status_code": 0}))
    hook = (THEIRS / "install.d/hook-theirs.sh").read_text()
    write(root, "var/lib/heat-config/hooks/theirs", hook, 0o755)
    shutil.copytree(THEIRS / "os-apply-config", root / "usr/libexec/os-apply-config/templates")
    script = "#!/bin/sh\necho configured > /var/lib/theirs\n"
    write(root, "usr/libexec/os-refresh-config/configure.d/60-theirs", script, 0o755)
    shutil.copy(deb.package(), root / "root/agent.deb")


@pytest.mark.guest
def test_an_upgrade_in_place_keeps_history_credentials_and_scripts(debian: Path) -> None:
    nobody = Instance("", "")

    with machine.machine(debian, lambda _r, _i: None, nobody, prepare=ran_by_the_old_tools) as (guest, endpoint):
        endpoint.port = PORT
        theirs = {**endpoint.script("theirs", "anything"), "group": "theirs"}
        endpoint.serve(endpoint.script("old", SCRIPT), endpoint.script("new", SCRIPT), theirs, greeting="hello")
        assert "active" == guest.ask("systemctl", "is-active", "os-collect-config.service")

        said = guest.ask("dpkg", "--install", "/root/agent.deb")
        wait_signals(guest, endpoint, 2)
        until((guest.root / "var/lib/theirs").exists, lambda: "the old script of a phase")

        assert ["new", "theirs"] == [signal.name for signal in endpoint.signals]
        assert "from their hook" == endpoint.signals[1].body["deploy_stdout"]
        assert "ran\n" == (guest.root / "root/ran").read_text()
        assert "motd of hello\n" == (guest.root / "etc/motd").read_text()
        assert "takes the place of os-collect-config.service" in said
        assert "disabled" == guest.run("systemctl", "is-enabled", "os-collect-config.service").stdout.strip()
        assert "active" == guest.ask("systemctl", "is-active", UNIT)

        guest.ask("dpkg", "--purge", "os-deploy-agent")

        marks = {path.name for path in (guest.root / DEPLOYED).iterdir()}
        assert {"id-old.json", "id-old.notify.json"} == marks
        assert (guest.root / "var/lib/heat-config/hooks/theirs").exists()
        assert (guest.root / "etc/os-collect-config.conf").exists()
