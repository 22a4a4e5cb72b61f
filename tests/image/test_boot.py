"""First boots of the image: cloud-init leaves what Heat sent, the agent finds it and does what is wanted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.guest.guest import Guest
from tests.image import machine
from tests.image.machine import PORT, Instance, Source, bootstrap
from tests.process.endpoint import Endpoint
from tests.waiting import until

UNIT = "os-deploy-agent.service"
COPY, OWN = "var/lib/cloud/data/cfn-init-data", "var/lib/heat-cfntools/cfn-init-data"
STATE = "var/lib/os-deploy-agent"
SCRIPT = "#!/bin/sh\necho ran >> /root/ran\n"
FIRST, SECOND, THIRD = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "123")


def serve(endpoint: Endpoint, *names: str) -> None:
    endpoint.port = PORT
    endpoint.serve(*(endpoint.script(name, SCRIPT) for name in names))


def wait_signals(guest: Guest, endpoint: Endpoint, count: int) -> None:
    def journal() -> str:
        return guest.run("journalctl", "--boot", "--no-pager", "--lines", "60").stdout

    until(lambda: len(endpoint.signals) >= count, lambda: f"{count} signals; {journal()}")


def said_by_agent(guest: Guest) -> str:
    return guest.ask("journalctl", "--boot", "--no-pager", "--output", "cat", "--unit", UNIT)


@pytest.mark.parametrize(
    ("source", "form"),
    [(machine.config_drive, "HEAT_CFNTOOLS"), (machine.service, "SOFTWARE_CONFIG")],
    ids=["config-drive-cfntools", "service-software-config"],
)
def test_what_heat_sends_by_cloud_init_becomes_a_deployment(image: Path, source: Source, form: str) -> None:
    sent = machine.user_data(bootstrap(), form, script="#!/bin/sh\necho user-script >> /root/ran\n")

    with machine.machine(image, source, Instance(FIRST, sent)) as (guest, endpoint):
        serve(endpoint, "web")
        wait_signals(guest, endpoint, 1)
        until(lambda: "done" in guest.run("cloud-init", "status").stdout, "cloud-init to be done")

        assert "COMPLETE" == endpoint.signals[0].judged
        assert "active" == guest.ask("systemctl", "is-active", UNIT)
        assert "inactive" == guest.run("systemctl", "is-active", "os-deploy-agent.timer").stdout.strip()
        assert (guest.root / COPY).read_bytes() == (guest.root / OWN).read_bytes()
        note = json.loads((guest.root / STATE / "instance.json").read_text())
        assert FIRST == note["cloud"]
        assert {"ran"} < set((guest.root / "root/ran").read_text().split())
        if form == "HEAT_CFNTOOLS":
            hint = (guest.root / "var/lib/heat-cfntools/cfn-metadata-server").read_text()
            assert f"http://127.0.0.1:{PORT}/v1/" == hint


def test_a_machine_keeps_its_history_over_a_reboot_and_copies_of_it_have_none(image: Path) -> None:
    first = Instance(FIRST, machine.user_data(bootstrap()))

    with machine.machine(image, machine.no_cloud, first) as (guest, endpoint):
        serve(endpoint, "web")
        wait_signals(guest, endpoint, 1)
        readable = [path.stat().st_mode & 0o004 for path in (guest.root / COPY, (guest.root / OWN).parent)]
        guest.reboot()
        serve(endpoint, "web", "next")
        wait_signals(guest, endpoint, 2)
        rebooted = [signal.name for signal in endpoint.signals]

        guest.power_off()  # a copy that gets nothing from its cloud
        machine.no_cloud(guest.root, Instance(SECOND, "#cloud-config\n{}\n"))
        polls = endpoint.polls
        guest.start()
        until(lambda: "left by another machine, passed over" in said_by_agent(guest), "the agent to look")
        left = (guest.root / OWN).exists()
        polls_of_second = endpoint.polls - polls

        guest.power_off()  # and one that gets data of its own
        machine.no_cloud(guest.root, Instance(THIRD, machine.user_data(bootstrap(copied=True))))
        guest.start()
        wait_signals(guest, endpoint, 4)

        assert [0, 0] == readable
        assert ["web", "next"] == rebooted
        assert (True, 0) == (left, polls_of_second)
        assert ["web", "next", "web", "next"] == [signal.name for signal in endpoint.signals]
        assert THIRD == json.loads((guest.root / STATE / "instance.json").read_text())["cloud"]
        assert {"id-web.json", "id-next.json"} == {p.name for p in (guest.root / STATE / "former" / FIRST).iterdir()}


def test_without_cloud_init_ignitions_files_are_enough(image: Path) -> None:
    def ignite(root: Path) -> None:
        for name in (COPY, OWN):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(bootstrap()))
            path.chmod(0o640)

    with machine.machine(image, lambda _root, _instance: None, Instance("", ""), prepare=ignite) as (guest, endpoint):
        serve(endpoint, "web")
        wait_signals(guest, endpoint, 1)

        assert "COMPLETE" == endpoint.signals[0].judged
        assert "disabled" in guest.run("cloud-init", "status").stdout
        assert not (guest.root / STATE / "instance.json").exists()


def test_templates_scripts_and_hooks_of_other_elements_are_used(image: Path) -> None:
    def ignite(root: Path) -> None:
        path = root / OWN
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(bootstrap()))

    with machine.machine(image, lambda _root, _instance: None, Instance("", ""), prepare=ignite) as (guest, endpoint):
        endpoint.port = PORT
        endpoint.serve({**endpoint.script("theirs", "anything"), "group": "theirs"}, greeting="hello")
        wait_signals(guest, endpoint, 1)

        assert "from their hook" == endpoint.signals[0].body["deploy_stdout"]
        assert "motd of hello\n" == (guest.root / "etc/motd").read_text()
        script = guest.root / "var/lib/theirs"  # after the deployments, as its number says
        until(lambda: script.exists() and script.read_text(), "the script of the phase")
        assert "configured hello\n" == script.read_text()
