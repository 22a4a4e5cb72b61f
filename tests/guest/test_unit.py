"""The service as systemd sees it: notified, watched, sandboxed, reloaded, started again."""

import json
import re
import signal
import socket
from pathlib import Path

from tests.conftest import CHECKOUT
from tests.guest.conftest import Boot
from tests.guest.guest import Guest
from tests.guest.machine import UNIT, give, outcome, script, until, write

EXPOSURE = 4.0
CRASHES = "[Service]\nWatchdogSec=0\nRestartSec=100ms\n"
WATCHED = "[Service]\nWatchdogSec=10s\nRestartSec=100ms\n"  # a busy machine keeps nobody waiting for so long


def watched(root: Path) -> None:
    write(root, f"etc/systemd/system/{UNIT}.d/quick.conf", WATCHED)
    write(root, "etc/os-deploy-agent/20-quick.conf", "[DEFAULT]\ntotal_timeout = 2\nkill_grace = 2\n")


def without_source(root: Path) -> None:
    (root / "etc/os-deploy-agent/10-test.conf").unlink()
    (root / "var/lib/os-collect-config/local-data").rmdir()


def main_pid(guest: Guest) -> int:
    return int(guest.show(UNIT, "MainPID"))


def restarts(guest: Guest) -> int:
    return int(guest.show(UNIT, "NRestarts"))


def test_the_unit_is_active_and_says_what_it_does(guest: Guest) -> None:
    assert ("active", "running") == (guest.show(UNIT, "ActiveState"), guest.show(UNIT, "SubState"))
    until(guest, lambda: guest.show(UNIT, "StatusText").startswith("watching local; "), "the status")

    give(guest, script("status-1", "#!/bin/sh\nwhile [ ! -e /run/go ]; do sleep 0.05; done\n", name="wait-for-go"))

    until(guest, lambda: guest.show(UNIT, "StatusText") == "running wait-for-go", "the status")
    guest.ask("touch", "/run/go")
    assert 0 == outcome(guest, "status-1")["deploy_status_code"]


def test_the_units_are_verified_without_a_word(guest: Guest) -> None:
    units = sorted(path.name for path in (CHECKOUT / "systemd").iterdir())

    done = guest.run("systemd-analyze", "verify", *units)

    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_the_daemon_is_exposed_to_little(guest: Guest) -> None:
    said = guest.ask("systemd-analyze", "security", UNIT)

    [figure] = re.findall(r"Overall exposure level for os-deploy-agent.service: ([0-9.]+)", said)
    assert float(figure) <= EXPOSURE


def test_a_reload_is_over_when_the_new_settings_hold(guest: Guest) -> None:
    write(guest.root, "etc/os-deploy-agent/20-more.conf", "[request]\nmetadata_url = http://127.0.0.1:9/none\n")
    write(guest.root, "etc/os-deploy-agent/30-more.conf", "[DEFAULT]\ncollectors = request\n")

    guest.ask("systemctl", "reload", UNIT)

    until(guest, lambda: "source request is unavailable" in guest.show(UNIT, "StatusText"), "the new source")
    for name in ("20-more.conf", "30-more.conf"):
        (guest.root / "etc/os-deploy-agent" / name).unlink()
    guest.ask("systemctl", "reload", UNIT)
    until(guest, lambda: guest.show(UNIT, "StatusText").startswith("watching local"), "the old source")


def test_a_crash_starts_it_again(with_agent: Boot) -> None:
    def unwatched(root: Path) -> None:
        write(root, f"etc/systemd/system/{UNIT}.d/quick.conf", CRASHES)

    with with_agent(unwatched) as guest:
        first = main_pid(guest)

        guest.ask("kill", "-SEGV", str(first))

        until(guest, lambda: restarts(guest) == 1 and guest.show(UNIT, "ActiveState") == "active", "the restart")
        assert main_pid(guest) not in (0, first)


def test_the_watchdog_ends_a_hang_and_leaves_a_quiet_loop_alone(with_agent: Boot) -> None:
    with with_agent(watched) as guest:
        stamps = {guest.show(UNIT, "WatchdogTimestampMonotonic")}

        def fed_often() -> bool:
            stamps.add(guest.show(UNIT, "WatchdogTimestampMonotonic"))
            return len(stamps) > 3  # twice in a period: more than one of them

        until(guest, fed_often, "the watchdog to be fed while nothing happens")
        assert 0 == restarts(guest)
        hung = main_pid(guest)

        guest.ask("kill", "-STOP", str(hung))

        until(guest, lambda: restarts(guest) == 1 and guest.show(UNIT, "ActiveState") == "active", "the restart")
        assert main_pid(guest) != hung
        assert "Watchdog timeout" in guest.ask("journalctl", "--unit", UNIT)


def test_a_hang_of_the_loop_itself_is_ended_and_leaves_a_traceback(with_agent: Boot) -> None:
    def hanging(root: Path) -> None:
        watched(root)
        daemon = root / "opt/os-deploy-agent/agent/daemon.py"
        source = daemon.read_text()
        broken = source.replace(
            "def _poll(", "def _poll(*_: object) -> None:\n    while True:\n        pass\n\n\ndef _was("
        )
        assert broken != source
        daemon.write_text(broken)

    with with_agent(hanging) as guest:
        until(guest, lambda: restarts(guest) > 0, "the watchdog to bite")

        said = guest.ask("journalctl", "--unit", UNIT)
        assert "Fatal Python error: Aborted" in said
        assert "daemon.py" in said


def test_a_request_may_take_longer_than_the_watchdog_would_wait(with_agent: Boot) -> None:
    with with_agent(watched) as guest, guest.inside(lambda: socket.create_server(("127.0.0.1", 8000))):
        slow = (
            "[DEFAULT]\ncollectors = request\nread_timeout = 60\ntotal_timeout = 15\n"
            "[request]\nmetadata_url = http://127.0.0.1:8000/\n"
        )
        write(guest.root, "etc/os-deploy-agent/30-slow.conf", slow)  # the server takes a connection and never answers

        guest.ask("systemctl", "reload", UNIT)

        until(
            guest, lambda: "no complete answer within" in guest.show(UNIT, "StatusText"), "the request to be given up"
        )
        assert 0 == restarts(guest)


def test_a_credential_of_the_service_is_a_settings_file_that_wins(with_agent: Boot) -> None:
    def with_credential(root: Path) -> None:
        write(root, "etc/credstore/os-deploy-agent.conf", "[DEFAULT]\ncollectors = ec2\n", 0o600)

    with with_agent(with_credential) as guest:
        until(guest, lambda: "ec2" in guest.show(UNIT, "StatusText"), "the collector that the credential names")


def test_without_any_source_it_is_up_waits_and_says_for_what(with_agent: Boot) -> None:
    left = "/var/lib/heat-cfntools/cfn-init-data"

    with with_agent(without_source) as guest:
        until(guest, lambda: left in guest.show(UNIT, "StatusText"), "the status to name the file")
        assert "active" == guest.show(UNIT, "ActiveState")

        write(guest.root, left.lstrip("/"), json.dumps({"deployments": [script("first", "#!/bin/sh\necho first\n")]}))

        assert "first\n" == outcome(guest, "first")["deploy_stdout"]


def test_a_cloud_init_that_starts_it_and_waits_is_not_waited_for(with_agent: Boot) -> None:
    left = "/var/lib/heat-cfntools/cfn-init-data"
    data = json.dumps({"deployments": [script("first", "#!/bin/sh\necho first\n")]})
    enabled = "[Unit]\nDefaultDependencies=no\nBefore=sysinit.target\n[Service]\nType=oneshot\n"
    enabled += "ExecStart=/bin/mkdir -p /run/cloud-init\nExecStart=/bin/touch /run/cloud-init/enabled\n"
    final = "[Service]\nType=oneshot\nExecStart=/bin/systemctl start os-deploy-agent.service\n"
    final += "ExecStart=/bin/touch /run/has-started-it\n[Install]\nWantedBy=multi-user.target\n"

    def with_cloud_init(root: Path) -> None:
        without_source(root)
        units = root / "etc/systemd/system"
        for name, text, target in (("enabled", enabled, "sysinit"), ("final", final, "multi-user")):
            write(root, f"etc/systemd/system/cloud-{name}.service", text)
            (units / f"{target}.target.wants").mkdir(exist_ok=True)
            (units / f"{target}.target.wants/cloud-{name}.service").symlink_to(f"../cloud-{name}.service")

    with with_agent(with_cloud_init) as guest:
        assert guest.ask("ls", "/run/has-started-it")
        until(guest, lambda: "waiting for cloud-init to say" in guest.show(UNIT, "StatusText"), "the status")

        guest.ask("sh", "-c", "echo i-1 >/run/cloud-init/.instance-id")
        until(guest, lambda: left in guest.show(UNIT, "StatusText"), "the status to name what comes next")
        write(guest.root, left.lstrip("/"), data)

        assert "first\n" == outcome(guest, "first")["deploy_stdout"]


def test_the_timer_does_without_the_daemon(with_agent: Boot) -> None:
    with with_agent(enable=False) as guest:
        give(guest, script("timed", "#!/bin/sh\necho timed\n"))

        guest.ask("systemctl", "enable", "--now", "os-deploy-agent.timer")

        assert "timed\n" == outcome(guest, "timed")["deploy_stdout"]
        assert "inactive" == guest.show(UNIT, "ActiveState")


def test_sigterm_is_an_ordinary_end(with_agent: Boot) -> None:
    with with_agent() as guest:
        guest.ask("kill", f"-{signal.SIGTERM.value}", str(main_pid(guest)))

        until(guest, lambda: guest.show(UNIT, "ActiveState") == "inactive", "the end")
        assert ("success", 0) == (guest.show(UNIT, "Result"), restarts(guest))
