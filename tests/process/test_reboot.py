"""A hook that ends with 194: the machine is rebooted, and the hook run again, at most three times."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint
from tests.process.guest import Ended, Guest, opened, put, settle
from tests.process.points import killed_at_the_start
from tests.waiting import until

ASKS = """#!/bin/sh
echo "reboots-${OS_DEPLOY_AGENT_REBOOTS:-0}" >> $WITNESS
[ "${OS_DEPLOY_AGENT_REBOOTS:-0}" -ge WANTED ] && exit 0
exit 194
"""


@pytest.fixture
def machine(guest: Guest) -> Guest:
    """A guest with a boot id, and a command that only notes that it was called."""
    boot(guest, "boot-1")
    command = guest.root / "reboot"
    command.write_text(f"#!/bin/sh\necho reboot >> {guest.root}/reboots\n")
    command.chmod(0o755)
    guest.flags["reboot_command"] = str(command)
    return guest


def boot(guest: Guest, name: str) -> None:
    put(guest.root / "proc/sys/kernel/random/boot_id", f"{name}\n")


def reboots(guest: Guest) -> int:
    path = guest.root / "reboots"
    return len(path.read_text().split()) if path.exists() else 0


def asks(wanted: int) -> str:
    return ASKS.replace("WANTED", str(wanted))


def boots(guest: Guest, *names: str) -> list[Ended]:
    """`agent --once` in one boot after the other."""
    ended = []
    for name in names:
        boot(guest, name)
        ended.append(guest.once())
    return ended


def test_a_hook_that_asks_for_a_reboot_goes_on_after_it(machine: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", asks(1)), endpoint.script("next", "#!/bin/sh\necho next >> $WITNESS"))

    [before] = boots(machine, "boot-1")

    assert (2, [], 1) == (before.status, endpoint.signals, reboots(machine))
    assert ["reboots-0"] == machine.seen()
    assert 1 == machine.journal()["id-web"]["reboots"]

    [after] = boots(machine, "boot-2")

    assert (0, ["web", "next"]) == (after.status, [sent.name for sent in endpoint.signals if sent.judged == "COMPLETE"])
    assert (["reboots-0", "reboots-1", "next"], 1) == (machine.seen(), reboots(machine))


def test_nothing_is_run_and_nothing_counted_while_the_reboot_has_not_come(machine: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", asks(1)))

    boots(machine, "boot-1", "boot-1", "boot-1")

    assert (["reboots-0"], 1, 3) == (machine.seen(), machine.journal()["id-web"]["reboots"], reboots(machine))


def test_a_hook_that_asks_again_and_again_fails_after_three_reboots(machine: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", asks(99)))

    boots(machine, *(f"boot-{number}" for number in range(6)))

    assert ([f"reboots-{number}" for number in range(4)], 3) == (machine.seen(), reboots(machine))
    [sent] = endpoint.signals
    assert (194, True) == (sent.body["deploy_status_code"], "it had 3 reboots already" in sent.stderr)
    assert not [name for name in sent.body if name.startswith("os_deploy_agent")]


def test_reboots_are_bounded_also_where_hook_and_agent_know_the_boot_by_different_ids(
    machine: Guest, endpoint: Endpoint
) -> None:
    theirs = f"#!/bin/sh\necho theirs > {machine.root}/proc/sys/kernel/random/boot_id\n"
    endpoint.serve(endpoint.script("web", theirs + asks(99)))

    boots(machine, *["ours"] * 6)

    assert [f"reboots-{number}" for number in range(4)] == machine.seen()
    [sent] = endpoint.signals
    assert (194, True) == (sent.body["deploy_status_code"], "it had 3 reboots already" in sent.stderr)


def test_the_daemon_reboots_once_nothing_else_runs(machine: Guest, endpoint: Endpoint) -> None:
    gated = "#!/bin/sh\nwhile [ ! -e $WITNESS.open ]; do sleep 0.05; done\n"
    endpoint.serve(endpoint.script("web", asks(1)), endpoint.script("other", gated))
    machine.start("run", min_polling_interval="0.05", polling_interval="0.2", max_parallel="2")
    until(lambda: machine.journal().get("id-web", {}).get("reboots"), "the wish to be counted")
    assert 0 == reboots(machine)

    (machine.root / "witness.open").touch()

    until(lambda: reboots(machine), "the reboot")
    assert ["other"] == [sent.name for sent in endpoint.signals]
    boot(machine, "boot-2")
    until(lambda: endpoint.of("web"), "the outcome")
    assert 1 == reboots(machine)


def test_a_reboot_that_fails_is_a_failed_outcome_that_says_so(machine: Guest, endpoint: Endpoint) -> None:
    (machine.root / "reboot").write_text("#!/bin/sh\necho 'no bus' >&2\nexit 1\n")
    endpoint.serve(endpoint.script("web", asks(1)), endpoint.script("next", "#!/bin/sh\ntrue"))

    ended = machine.once()

    [sent] = endpoint.of("web")
    assert (1, 194) == (ended.status, sent.body["deploy_status_code"])
    assert "no bus" in sent.stderr
    assert ["COMPLETE"] == [sent.judged for sent in endpoint.of("next")]


def test_a_reboot_that_does_not_come_within_half_an_hour_is_a_failed_outcome(
    machine: Guest, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WITNESS", str(machine.witness))
    endpoint.serve(endpoint.script("web", asks(1)))
    now = [1000.0]
    agent = opened(machine, now)
    agent.cycle()
    settle(agent)
    asked, due = reboots(machine), agent.next_due()

    now[0] = 1000.0 + 1799.0
    agent.cycle()
    waited = list(endpoint.signals)
    now[0] = 1000.0 + 1800.0
    agent.cycle()

    assert (1, 2800.0, []) == (asked, due, waited)
    [sent] = endpoint.signals
    assert (194, ["reboots-0"], 1) == (sent.body["deploy_status_code"], machine.seen(), reboots(machine))
    assert "did not reboot this machine within 1800 s" in sent.stderr


def test_without_a_command_the_deployment_is_held_for_whoever_reboots(machine: Guest, endpoint: Endpoint) -> None:
    settings = machine.root / "etc/os-deploy-agent/agent.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text("[DEFAULT]\nreboot_command =\n")
    machine.flags["reboot_command"] = ""
    endpoint.serve(endpoint.script("web", asks(1)))

    [before, after] = boots(machine, "boot-1", "boot-2")

    assert (2, 0, 0) == (before.status, after.status, reboots(machine))
    assert 1 == len(before.events("reboot wanted, reboot_command is empty: reboot this machine"))


def test_what_left_the_metadata_meanwhile_is_not_rebooted_for(machine: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", asks(1)))
    boots(machine, "boot-1")
    endpoint.serve()

    boots(machine, "boot-1")

    assert (1, {"id-web": "superseded"}) == (reboots(machine), machine.states())


@pytest.mark.slow
@pytest.mark.parametrize("reached", [("boot-1", "boot-2"), ("boot-1", "boot-1", "boot-2")])
def test_an_agent_killed_around_the_count_neither_loses_nor_doubles_it(
    endpoint: Endpoint, tmp_path: Path, reached: tuple[str, ...]
) -> None:
    points = recorded_reboot(endpoint, tmp_path / "recorded")
    assert len(points) >= 6

    for number, point in enumerate(points):
        guest = fresh(endpoint, tmp_path / str(number))
        record = tmp_path / f"record-{number}"
        guest.once(environment=guest.shim(record, SHIM_KILL=point, SHIM_VICTIMS="agent"))
        assert record.with_name(f"{record.name}.killed").exists(), (point, record.read_text())
        until(lambda guest=guest: not guest.runners(), "the runner to end")  # type: ignore[misc]
        boots(guest, *reached)
        guest.end()

        assert ["reboots-0", "reboots-1"] == guest.seen(), point
        assert (1, "signalled") == (guest.journal()["id-web"]["reboots"], guest.states()["id-web"]), point
        assert ["COMPLETE"] == [sent.judged for sent in endpoint.signals], point


@pytest.mark.slow
def test_an_agent_killed_while_it_goes_on_after_a_reboot_runs_no_hook_twice(endpoint: Endpoint, tmp_path: Path) -> None:
    for point, guest in killed_at_the_start(partial(rebooted, endpoint), tmp_path):
        [sent] = endpoint.signals
        assert "interrupted" in sent.stderr or ["reboots-0", "reboots-1"] == guest.seen(), point
        assert guest.seen() in (["reboots-0"], ["reboots-0", "reboots-1"]), point
        assert {"id-web": "signalled"} == guest.states(), point


def rebooted(endpoint: Endpoint, root: Path) -> Guest:
    guest = fresh(endpoint, root)
    guest.once()
    boot(guest, "boot-2")
    return guest


def fresh(endpoint: Endpoint, root: Path) -> Guest:
    root.mkdir()
    endpoint.signals.clear()
    endpoint.serve(endpoint.script("web", asks(1)))
    guest = Guest(root, endpoint)
    guest.flags["reboot_command"] = "/bin/true"
    boot(guest, "boot-1")
    return guest


def recorded_reboot(endpoint: Endpoint, root: Path) -> list[str]:
    """What the agent does from the end of the hook on, up to the reboot."""
    guest = fresh(endpoint, root)
    record = root.parent / "record"
    guest.once(environment=guest.shim(record))
    guest.end()
    points = record.read_text().splitlines()
    [stored] = [at for at, point in enumerate(points) if "rename" in point and "id-web.notify.json" in point]
    calls = [point for point in points[stored + 1 :] if point.startswith("agent ")]
    return [point for point in calls if point.split()[1] not in ("wait", "waitpid", "recv_into")]
