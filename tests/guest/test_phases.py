"""What else the agent does to a guest happens outside of its sandbox: phases, templates, and cleaning up."""

import shutil
from pathlib import Path

from tests.conftest import CHECKOUT
from tests.guest.conftest import Boot
from tests.guest.machine import UNIT, give, outcome, script, until, write

SCRIPT = "#!/bin/sh\ncat /proc/self/cgroup >/etc/where\necho after >>/etc/order\n"
FAKE = "/root/containers"


def test_phases_and_templates_change_the_guest_from_a_unit_of_their_own(with_agent: Boot) -> None:
    def with_phases(root: Path) -> None:
        write(root, "usr/libexec/os-refresh-config/configure.d/60-after", SCRIPT, 0o755)
        write(root, "usr/libexec/os-apply-config/templates/etc/rendered", "{{greeting}}\n")
        write(root, "var/lib/os-collect-config/local-data/more.json", '{"greeting": "hello"}', 0o600)

    with with_agent(with_phases) as guest:
        give(guest, script("between", "#!/bin/sh\ncat /etc/rendered\necho hook >>/etc/order\n"))

        assert "hello\n" == outcome(guest, "between")["deploy_stdout"]
        order = guest.root / "etc/order"
        until(guest, lambda: "hook" in order.read_text() and order.read_text().endswith("after\n"), "the phases")
        assert "/system.slice/os-deploy-agent-run-phases-" in (guest.root / "etc/where").read_text()
        until(guest, lambda: "phases succeeded" in guest.ask("journalctl", "--unit", UNIT), "the agent to hear of it")


def test_an_agent_that_is_restarted_in_mid_phase_waits_for_the_old_run(with_agent: Boot) -> None:
    gated = "#!/bin/sh\necho begin >>/root/seen\nwhile [ ! -e /root/go ]; do sleep 0.05; done\necho end >>/root/seen\n"

    def with_phases(root: Path) -> None:
        write(root, "usr/libexec/os-refresh-config/pre-configure.d/10-gated", gated, 0o755)

    with with_agent(with_phases) as guest:
        give(guest, script("behind", "#!/bin/sh\necho hook >>/root/seen\n"))
        seen = guest.root / "root/seen"
        until(guest, seen.exists, "the phase to begin")

        guest.ask("systemctl", "restart", UNIT)
        (guest.root / "root/go").touch()

        assert 0 == outcome(guest, "behind")["deploy_status_code"]
        words = seen.read_text().split()
        assert ["begin", "end"] == words[:2]
        assert "hook" not in words[:-1]


def test_what_a_deployment_left_running_is_removed_by_the_engine_as_ever(with_agent: Boot) -> None:
    def with_engine(root: Path) -> None:
        shutil.copy(CHECKOUT / "tests/process/fake-docker", root / "usr/local/bin/docker")
        (root / FAKE.lstrip("/")).mkdir()
        write(root, f"etc/systemd/system/{UNIT}.d/fake.conf", f"[Service]\nEnvironment=FAKE={FAKE}\n")

    with with_agent(with_engine) as guest:
        containers = guest.root / FAKE.lstrip("/")
        give(guest, {**script("web", ""), "group": "docker-cmd", "config": {"web": {"image": "tiny"}}})
        until(guest, lambda: len(list(containers.iterdir())) == 1, "the container")
        outcome(guest, "web")

        give(guest)

        until(guest, lambda: list(containers.iterdir()) == [], "the container to go")
        until(guest, lambda: "cleaned up" in guest.ask("journalctl", "--unit", UNIT), "the agent to hear of it")
