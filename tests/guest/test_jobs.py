"""Services of cfn-init and units that files tell: driven by D-Bus, and the result of the job is in the outcome."""

import json
import shutil
from pathlib import Path
from typing import Any

from tests.guest.conftest import Boot
from tests.guest.guest import Guest
from tests.guest.machine import give, outcome, script, write

UNITS = {
    "sleeps": "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n",
    "fails": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    "reloads": "[Service]\nExecStart=/bin/sleep 1000\nExecReload=/bin/sh -c 'echo reloaded >>/root/reloads'\n",
    "sour": "[Service]\nExecStart=/bin/sleep 1000\nExecReload=/bin/false\n",
}


def without_systemctl(root: Path) -> None:
    """The program is away: what is done is done by D-Bus."""
    for name, text in UNITS.items():
        write(root, f"etc/systemd/system/{name}.service", text)
    wants = root / "etc/systemd/system/multi-user.target.wants"
    for name in ("reloads", "sour"):
        (wants / f"{name}.service").symlink_to(f"/etc/systemd/system/{name}.service")


def hide(guest: Guest) -> None:
    shutil.move(guest.root / "usr/bin/systemctl", guest.root / "root/systemctl")


def show(guest: Guest, unit: str, name: str) -> str:
    return guest.ask("/root/systemctl", "show", "--property", name, "--value", unit)


def init(id: str, **services: Any) -> dict[str, Any]:
    config = {"config": {"services": {"systemd": services}}}
    return {**script(id, ""), "group": "cfn-init", "config": config}


def files(id: str, **units: list[str]) -> dict[str, Any]:
    return {**script(id, ""), "group": "files", "config": {"files": {f"/etc/{id}": {"content": id, **units}}}}


def test_services_are_driven_and_a_job_that_fails_says_how(with_agent: Boot) -> None:
    with with_agent(without_systemctl) as guest:
        hide(guest)
        give(
            guest,
            init("good", sleeps={"enabled": True, "ensureRunning": True}),
            init("bad", fails={"ensureRunning": True}),
            files("told", notify=["reloads", "sleeps"]),
            files("untold", notify=["sour"]),
        )

        good, bad, told, untold = (outcome(guest, name) for name in ("good", "bad", "told", "untold"))

        assert (0, "active", "enabled") == (
            good["deploy_status_code"],
            show(guest, "sleeps.service", "ActiveState"),
            show(guest, "sleeps.service", "UnitFileState"),
        )
        assert bad["deploy_status_code"] != 0
        assert "start of fails.service: systemd's job ended with failed (exit-code)" in bad["deploy_stderr"]
        assert (0, "reloaded\n") == (told["deploy_status_code"], (guest.root / "root/reloads").read_text())
        assert untold["deploy_status_code"] != 0
        assert "of sour.service: systemd's job ended with failed" in untold["deploy_stderr"]


IN_A_CONTAINER = """
mount --make-rprivate /
mkdir /mnt/host
mount --rbind /run /mnt/host
mount -t tmpfs none /run
mkdir /run/dbus /run/systemd
mount --bind /mnt/host/dbus /run/dbus
mount --bind /mnt/host/systemd /run/systemd
umount --recursive /mnt/host
exec os-deploy-agent hook cfn-init
"""  # of its host's /run it sees what heat-container-agent.service mounts


def test_an_agent_in_a_container_drives_services_of_its_host_by_the_bus_that_is_mounted(with_agent: Boot) -> None:
    with with_agent(without_systemctl, enable=False) as guest:
        hide(guest)
        unshared = ("unshare", "--mount", "--pid", "--fork", "--mount-proc", "sh", "-e", "-c", IN_A_CONTAINER)

        said = guest.ask(*unshared, stdin=json.dumps(init("good", sleeps={"enabled": True, "ensureRunning": True})))

        assert 0 == json.loads(said)["deploy_status_code"], said
        assert ("active", "enabled") == tuple(
            show(guest, "sleeps.service", name) for name in ("ActiveState", "UnitFileState")
        )
