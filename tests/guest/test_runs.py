"""Deployments in units of their own: outside of the agent's sandbox, over its restarts, ended as a whole."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from agent import parse
from agent.journal import Journal
from agent.state import Places
from tests.guest.conftest import Boot
from tests.guest.guest import Guest
from tests.guest.machine import HOME, UNIT, give, outcome, script, until, write
from tests.waiting import LONGEST_S

GATED = """#!/bin/sh
echo begin >>/root/seen-{0}
while [ ! -e /root/go-{0} ]; do sleep 0.05; done
echo end >>/root/seen-{0}
"""
# A descendant that has left its session, its parent and its environment, and does not want to go.
STRAY = """#!/bin/sh
setsid env -i /bin/sh -c "trap '' TERM; echo \\$\\$ >/root/stray-{0}; while :; do sleep 0.1; done" &
sleep 600
"""
LEFT = """#!/bin/sh
echo run >>/root/runs
setsid sleep 1000 >/dev/null 2>&1 &
echo $! >/root/stray-left
"""
RESUMES = """#!/bin/sh
echo "$OS_DEPLOY_AGENT_REBOOTS" >>/root/reboots
[ -n "$OS_DEPLOY_AGENT_REBOOTS" ] || exit 194
"""
# Each holds what it has until the first one is killed, which is when together they have too much.
HUNGRY = """#!/usr/bin/env python3
import os, subprocess, sys
holding = "import sys; x = b'x' * 40_000_000; sys.stdin.read()"
held = [subprocess.Popen([sys.executable, "-c", holding], stdin=subprocess.PIPE) for _ in range(4)]
print("killed" if os.WIFSIGNALED(os.wait()[1]) else "ended")
"""
MANY = """#!/bin/sh
for i in 1 2 3 4 5 6 7 8 9; do sleep 600 & done
wait
"""
BUSY = """#!/usr/bin/env python3
import time
end = time.time() + 1
while time.time() < end: pass
print(time.process_time())
"""


def gated(id: str, **more: Any) -> dict[str, Any]:
    return script(id, GATED.format(id), **more)


def seen(guest: Guest, id: str) -> list[str]:
    path = guest.root / f"root/seen-{id}"
    return path.read_text().split() if path.exists() else []


def begun(guest: Guest, id: str) -> None:
    until(guest, lambda: seen(guest, id) == ["begin"], f"the hook of {id} to begin")


def open_gate(guest: Guest, id: str) -> None:
    (guest.root / f"root/go-{id}").touch()


def units(guest: Guest, id: str) -> list[str]:
    """The units of a deployment that systemd knows."""
    pattern = f"os-deploy-agent-run-{id}-*"
    return guest.ask("systemctl", "list-units", "--all", "--plain", "--no-legend", pattern).split()[:1]


def alive(guest: Guest, id: str) -> bool:
    """Whether the stray process of STRAY lives."""
    pid = (guest.root / f"root/stray-{id}").read_text().strip()
    return guest.run("kill", "-0", pid).returncode == 0


def runner(guest: Guest, id: str) -> int:
    lock = guest.root / f"var/lib/os-deploy-agent/running/{id}.lock"
    until(guest, lambda: b'"pid"' in lock.read_bytes(), "the runner to say its pid")
    return int(json.loads(lock.read_text())["pid"])


def test_a_hook_runs_in_a_unit_of_its_own_outside_of_the_sandbox(guest: Guest) -> None:
    give(guest, script("own", "#!/bin/sh\ncat /proc/self/cgroup\ntouch /etc/made-by-hook /usr/made-by-hook\numask\n"))

    found = outcome(guest, "own")

    assert (0, "") == (found["deploy_status_code"], found["deploy_stderr"])
    assert "/system.slice/os-deploy-agent-run-own-" in found["deploy_stdout"]
    assert "0022" == found["deploy_stdout"].split()[-1]
    until(guest, lambda: units(guest, "own") == [], "the unit to be forgotten")


def test_its_words_in_the_journal_carry_the_fields_of_the_deployment(guest: Guest) -> None:
    give(guest, script("fields", "#!/bin/sh\nexit 3\n", name="a name"))
    outcome(guest, "fields")

    def ended() -> list[dict[str, Any]]:
        said = guest.ask("journalctl", "--output", "json", "DEPLOYMENT_ID=fields")
        return [line for line in map(json.loads, said.splitlines()) if "hook ended" in line["MESSAGE"]]

    until(guest, lambda: len(ended()) == 1, "the event")
    [line] = ended()
    assert ("a name", "script", "stack/1") == tuple(line[f"DEPLOYMENT_{name}"] for name in ("NAME", "GROUP", "STACK"))
    assert 3 == json.loads(line["MESSAGE"])["status"]
    assert line["_SYSTEMD_UNIT"].startswith("os-deploy-agent-run-fields-")


def test_a_deployment_survives_a_restart_of_the_agent(guest: Guest) -> None:
    give(guest, gated("restart"))
    begun(guest, "restart")
    pid = runner(guest, "restart")

    guest.ask("systemctl", "restart", UNIT)

    assert pid == runner(guest, "restart")
    open_gate(guest, "restart")
    assert (0, ["begin", "end"]) == (outcome(guest, "restart")["deploy_status_code"], seen(guest, "restart"))


def test_a_deployment_survives_an_upgrade_of_the_package(with_agent: Boot) -> None:
    with with_agent() as guest:
        give(guest, gated("upgrade"))
        begun(guest, "upgrade")
        old, new = guest.root / HOME, guest.root / "opt/new"
        shutil.copytree(old, new)
        init = new / "agent/__init__.py"
        init.write_text('"""Another one."""\n\n__version__ = "99"\n')

        shutil.rmtree(old)
        new.rename(old)
        guest.ask("systemctl", "restart", UNIT)
        open_gate(guest, "upgrade")

        assert (0, ["begin", "end"]) == (outcome(guest, "upgrade")["deploy_status_code"], seen(guest, "upgrade"))
        assert "99" in guest.ask("os-deploy-agent", "--version")


def test_an_outcome_stands_although_systemd_did_not_hear_that_its_hook_runs(with_agent: Boot) -> None:
    with with_agent() as guest:
        program = guest.root / HOME / "agent/runner.py"
        silent = program.read_text().replace('notify.notifier(os.environ).ready("the hook is running")', "pass")
        program.write_text(silent)

        give(guest, script("unheard", "#!/bin/sh\necho end >>/root/seen-unheard\n"))

        assert 0 == outcome(guest, "unheard")["deploy_status_code"]
        until(guest, lambda: "its runner lived" in guest.ask("journalctl", "--unit", UNIT), "the failed job to be seen")
        assert (0, ["end"]) == (outcome(guest, "unheard")["deploy_status_code"], seen(guest, "unheard"))


def test_an_agent_of_the_machine_around_it_leaves_its_deployment_alone(guest: Guest, tmp_path: Path) -> None:
    give(guest, gated("around"))
    begun(guest, "around")
    around = Journal(Places(tmp_path / "var/lib/os-deploy-agent", tmp_path / "var/lib/heat-config/deployed"))
    around.open()
    around.begin(parse.deployment(script("around", "#!/bin/sh\n")))  # and nobody runs it: it was interrupted

    settings = ["--root", str(tmp_path), "--collectors", "local"]
    subprocess.run([sys.executable, "-m", "agent", "--once", *settings], timeout=LONGEST_S)
    open_gate(guest, "around")

    assert 130 == around.outcome("around")["deploy_status_code"]
    assert (0, ["begin", "end"]) == (outcome(guest, "around")["deploy_status_code"], seen(guest, "around"))


@pytest.mark.parametrize("how", ["timeout", "cancel", "stop", "kill"])
def test_all_processes_of_a_hook_are_ended_with_it(guest: Guest, how: str) -> None:
    key = f"all-{how}"
    give(guest, script(key, STRAY.format(key), options={"timeout": 15} if how == "timeout" else {}))
    until(guest, (guest.root / f"root/stray-{key}").exists, "the stray process")
    if how == "cancel":
        give(guest)
    elif how == "stop":
        guest.ask("systemctl", "stop", *units(guest, key))
    elif how == "kill":
        guest.ask("kill", f"-{signal.SIGKILL.value}", str(runner(guest, key)))

    expected = {"timeout": 124, "cancel": 130, "stop": 130, "kill": 130}
    assert expected[how] == outcome(guest, key)["deploy_status_code"]
    until(guest, lambda: not alive(guest, key), "the stray process to be gone")
    until(guest, lambda: units(guest, key) == [], "the unit to be forgotten")


def test_the_private_files_of_a_hook_go_when_its_runner_was_killed_whosever_they_are(guest: Guest) -> None:
    # stands in for ansible as another user: it keeps its inputs where that user alone may look
    hook = """#!/bin/sh
directory=/var/lib/heat-config/heat-config-ansible.nobody
install -d -o nobody -m 700 $directory
echo secret >$directory/private_variables.json
chown nobody $directory/private_variables.json
sleep 600
"""
    write(guest.root, "var/lib/heat-config/hooks/ansible", hook, 0o755)
    private = guest.root / "var/lib/heat-config/heat-config-ansible.nobody/private_variables.json"
    give(guest, {**script("private", ""), "group": "ansible"})
    until(guest, private.exists, "the hook to write")

    guest.ask("kill", "-KILL", str(runner(guest, "private")))

    assert 130 == outcome(guest, "private")["deploy_status_code"]
    assert not private.exists()


def test_a_service_that_a_hook_leaves_behind_stays_and_the_deployment_can_be_run_again(guest: Guest) -> None:
    give(guest, script("left", LEFT))
    assert 0 == outcome(guest, "left")["deploy_status_code"]
    assert alive(guest, "left")
    first = (guest.root / "root/stray-left").read_text()

    for name in ("left.notify.json", "left.json"):
        (guest.root / "var/lib/heat-config/deployed" / name).unlink()

    until(guest, lambda: (guest.root / "root/runs").read_text() == "run\nrun\n", "the second run")
    assert 0 == outcome(guest, "left")["deploy_status_code"]
    guest.ask("kill", first.strip(), (guest.root / "root/stray-left").read_text().strip())


def test_a_power_cut_in_mid_hook_is_an_outcome_and_no_second_run(with_agent: Boot) -> None:
    with with_agent() as guest:
        give(guest, gated("cut"))
        begun(guest, "cut")

        guest.cut_power()
        guest.start()

        found = outcome(guest, "cut")
        assert 130 == found["deploy_status_code"]
        assert found["deploy_stderr"].startswith("interrupted: the hook began at ")
        assert ["begin"] == seen(guest, "cut")


def test_a_reboot_in_mid_hook_is_an_outcome_and_no_second_run(with_agent: Boot) -> None:
    with with_agent() as guest:
        give(guest, gated("reboot"))
        begun(guest, "reboot")

        guest.reboot()

        assert (130, ["begin"]) == (outcome(guest, "reboot")["deploy_status_code"], seen(guest, "reboot"))


@pytest.mark.parametrize("how", ["power cut", "reboot"])
def test_a_hook_that_asks_for_it_is_run_again_after_an_interruption(with_agent: Boot, how: str) -> None:
    with with_agent() as guest:
        give(guest, gated("again", options={"on_interrupt": "rerun"}))
        begun(guest, "again")

        if how == "reboot":
            guest.reboot()
        else:
            guest.cut_power()
            guest.start()
        open_gate(guest, "again")

        assert 0 == outcome(guest, "again")["deploy_status_code"]
        assert ["begin", "begin", "end"] == seen(guest, "again")


def test_a_hook_that_asks_for_a_reboot_is_run_again_after_it(with_agent: Boot) -> None:
    with with_agent() as guest:
        give(guest, script("resume", RESUMES))

        guest.wait_until_off()
        guest.start()

        until(guest, lambda: (guest.root / "root/reboots").read_text() == "\n1\n", "the second run")
        until(guest, lambda: outcome(guest, "resume")["deploy_status_code"] == 0, "the outcome")


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.1, 0.15, 0.2, 0.3, 0.5])
def test_an_agent_killed_around_the_handing_over_runs_no_hook_twice_and_tells_no_lie(
    guest: Guest, delay_s: float
) -> None:
    key = f"killed-{delay_s * 100:.0f}"
    give(guest, gated(key))
    until(guest, (guest.root / f"var/lib/heat-config/deployed/{key}.json").exists, "the mark")
    guest.ask("sleep", str(delay_s))

    guest.run("systemctl", "kill", "--signal=KILL", UNIT)
    open_gate(guest, key)

    status = outcome(guest, key)["deploy_status_code"]
    until(guest, lambda: units(guest, key) == [], "the unit to end")
    assert (status, seen(guest, key)) in ((0, ["begin", "end"]), (130, []))


def test_limits_hold_for_all_processes_together(guest: Guest) -> None:
    give(
        guest,
        script("hungry", HUNGRY, options={"memory": "100M"}),
        script("many", MANY, options={"tasks": 6}),
        script("busy", BUSY, options={"cpu": "20%"}),
    )

    assert "killed" in outcome(guest, "hungry")["deploy_stdout"]
    assert "annot fork" in outcome(guest, "many")["deploy_stderr"]
    assert float(outcome(guest, "busy")["deploy_stdout"]) < 0.5


def test_a_limit_that_this_machine_cannot_keep_is_named(with_agent: Boot) -> None:
    def without_memory(root: Path) -> None:
        write(root, "etc/systemd/system/-.slice.d/less.conf", "[Slice]\nDisableControllers=memory\n")

    with with_agent(without_memory) as guest:
        give(guest, script("unkept", "#!/bin/sh\necho ran\n", options={"memory": "100M", "tasks": 50}))

        assert "ran\n" == outcome(guest, "unkept")["deploy_stdout"]
        log = (guest.root / "var/log/os-deploy-agent/unkept.log").read_text()
        assert "limit memory is not kept: this machine does not own its controller\n" in log
        assert "tasks" not in log
        told = guest.ask("journalctl", "DEPLOYMENT_ID=unkept")
        assert "limit not kept, this machine does not own its controller" in told


def test_without_a_way_to_systemd_the_outcome_says_what_to_install(with_agent: Boot) -> None:
    def without_libraries(root: Path) -> None:
        for name in ("dbus_next", "dbus_fast"):
            shutil.rmtree(root / "usr/lib/python3/dist-packages" / name)

    with with_agent(without_libraries) as guest:
        give(guest, script("nobus", "#!/bin/sh\ntouch /root/ran\n"))

        found = outcome(guest, "nobus")

        assert 126 == found["deploy_status_code"]
        assert "install the extra dbus" in found["deploy_stderr"]
        assert not (guest.root / "root/ran").exists()
