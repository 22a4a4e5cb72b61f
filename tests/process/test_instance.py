"""A disk that was another machine's: nothing of that one's is used, run or signalled here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint, listening
from tests.process.guest import Guest, put
from tests.process.points import Point, thinned
from tests.waiting import LONGEST_S, until

RAN = "#!/bin/sh\necho ran >> $WITNESS\n"
AT_MOST = 24  # points of the crash
FILE = "var/lib/heat-cfntools/cfn-init-data"
FIRMWARE = "sys/class/dmi/id/product_uuid"
NOVA, OTHER = "4a8c9b1e-0000-4000-8000-00000000000a", "4a8c9b1e-0000-4000-8000-00000000000b"


def boot(guest: Guest, cloud: str = "", firmware: str = "") -> None:
    """What cloud-init and the firmware say after a boot; "" is nothing."""
    for name, said in (("run/cloud-init/.instance-id", cloud), (FIRMWARE, firmware)):
        (guest.root / name).unlink(missing_ok=True)
        if said:
            put(guest.root / name, f"{said}\n")


@pytest.fixture
def ran(guest: Guest, endpoint: Endpoint) -> Guest:
    """A machine, by cloud-init's id and by its firmware's, that has run one deployment."""
    boot(guest, NOVA, NOVA.upper())
    endpoint.serve(endpoint.script("web", RAN))
    assert 0 == guest.once().status
    assert ["ran"] == guest.seen()
    return guest


@pytest.mark.parametrize(
    ("cloud", "firmware"),
    [(OTHER, OTHER), (OTHER, ""), ("", OTHER), (NOVA, OTHER)],
    ids=["both", "cloud-init", "firmware", "firmware-before-cloud-init"],
)
def test_a_clone_runs_what_is_listed_for_it_whatever_its_disk_says(
    ran: Guest, endpoint: Endpoint, cloud: str, firmware: str
) -> None:
    boot(ran, cloud, firmware)

    ended = ran.once()

    assert (0, ["ran", "ran"]) == (ended.status, ran.seen())
    assert 2 == len(endpoint.of("web"))
    assert [{"was": NOVA}] == [{"was": e["was"]} for e in ended.events("another machine's state taken away")]


@pytest.mark.parametrize(
    ("cloud", "firmware"),
    [
        (NOVA, NOVA),
        ("iid-datasource-none", NOVA),
        ("iid-datasource-none", ""),
        ("", ""),
        ("i-0000000a", NOVA),
        (NOVA, "1e9b8c4a-0000-0040-8000-00000000000a"),
    ],
    ids=["same", "service-down", "nothing-but-service-down", "nothing", "another-data-source", "bytes-swapped"],
)
def test_a_machine_stays_itself(ran: Guest, endpoint: Endpoint, cloud: str, firmware: str) -> None:
    boot(ran, cloud, firmware)
    unknown = ran.once()
    boot(ran, NOVA, NOVA)
    ran.once()

    assert (0, ["ran"]) == (unknown.status, ran.seen())
    assert 1 == len(endpoint.of("web"))


def test_a_clone_without_any_source_neither_runs_nor_signals(guest: Guest, endpoint: Endpoint) -> None:
    boot(guest, NOVA)
    endpoint.serve(endpoint.script("web", RAN), endpoint.script("next", RAN))
    endpoint.spoil = lambda request, _name: request.send_error(503) is None
    assert 2 == guest.once(once_patience="0.2").status
    endpoint.spoil = lambda _request, _name: False
    endpoint.metadata_status = 500
    boot(guest, OTHER)

    ended = guest.once(once_patience="0.2")

    assert 2 == ended.status
    assert ([], ["ran", "ran"]) == (endpoint.signals, guest.seen())
    assert {} == guest.journal()


def test_what_the_former_machine_did_stays_on_record_without_its_secrets(ran: Guest) -> None:
    boot(ran, OTHER)

    ran.once(collectors="local")

    [entry] = (ran.state / "former" / NOVA).iterdir()
    assert "signalled" == json.loads(entry.read_text())["state"]
    kept = [path for path in [*ran.state.rglob("*"), *ran.deployed.rglob("*")] if path.is_file()]
    assert not [path for path in kept if b"deploy_signal_id" in path.read_bytes()]


def bootstrap(guest: Guest) -> str:
    section = {"os-collect-config": {"request": {"metadata_url": guest.endpoint.metadata_url}}}
    return json.dumps(section)


@pytest.fixture
def told(guest: Guest, endpoint: Endpoint) -> Guest:
    """A machine that got its address from cloud-init's file, a minute ago."""
    guest.flags |= {"collectors": "heat_local,request", "request_metadata_url": ""}
    boot(guest, NOVA)
    path = put(guest.root / FILE, bootstrap(guest))
    os.utime(path, (time.time() - 60,) * 2)
    endpoint.serve(endpoint.script("web", RAN))
    assert 0 == guest.once().status
    return guest


def test_a_clone_does_not_go_by_the_file_that_its_pattern_was_given(told: Guest, endpoint: Endpoint) -> None:
    polls = endpoint.polls
    boot(told, OTHER)

    first, second = told.once(), told.once()

    assert polls == endpoint.polls
    assert ["ran"] == told.seen()
    assert [str(told.root / FILE)] == [e["file"] for e in first.events("left by another machine, passed over")]
    assert [] == second.events("left by another machine, passed over")


@pytest.mark.parametrize("how", ["rewritten", "touched", "other"])
def test_a_clone_goes_by_a_file_that_is_its_own(told: Guest, endpoint: Endpoint, how: str) -> None:
    boot(told, OTHER)
    if how == "rewritten":  # by cloud-init, before the agent starts
        put(told.root / FILE, bootstrap(told))
    elif how == "touched":  # by an operator who was told to
        told.once()
        os.utime(told.root / FILE)
    else:  # with a clock that is behind
        os.utime(put(told.root / FILE, json.dumps({**json.loads(bootstrap(told)), "more": 1})), (1.0, 1.0))

    ended = told.once()

    assert (0, ["ran", "ran"]) == (ended.status, told.seen())


def test_a_clone_does_not_go_by_a_settings_file_with_its_patterns_password(ran: Guest) -> None:
    put(ran.root / "proc/stat", f"btime {int(time.time()) - 3600}\n")
    old = put(ran.root / "etc/os-collect-config.conf", "[heat]\nauth_url = http://127.0.0.1:9/v3\npassword = theirs\n")
    harmless = put(ran.root / "etc/os-deploy-agent/10.conf", "[DEFAULT]\npolling_interval = 5\n")
    for path in (old, harmless):
        os.utime(path, (time.time() - 7200,) * 2)
    before = ran.once(collectors="heat")
    boot(ran, OTHER)

    after = ran.once(collectors="heat")

    assert (1, 0) == (len(before.events("source unavailable")), len(after.events("source unavailable")))
    assert [str(old)] == [event["file"] for event in after.events("left by another machine, passed over")]


def test_a_file_of_credentials_that_everybody_reads_is_told_of_once(guest: Guest) -> None:
    path = put(guest.root / "var/lib/cloud/data/cfn-init-data", bootstrap(guest))
    path.chmod(0o644)
    guest.flags["collectors"] = "heat_local"

    first, second = guest.once(), guest.once()

    assert [str(path)] == [event["file"] for event in first.events("credentials readable by everybody")]
    assert [] == second.events("credentials readable by everybody")
    assert 0o644 == path.stat().st_mode & 0o777


def test_nothing_is_opened_before_cloud_init_has_said_who_we_are(ran: Guest, endpoint: Endpoint) -> None:
    boot(ran)
    put(ran.root / "run/cloud-init/enabled", "")
    polls = endpoint.polls

    agent = ran.start("run", "--log-level", "debug")
    until(lambda: ran.log().events("not opened yet"), "the agent to wait")
    waited = endpoint.polls
    boot(ran, OTHER)
    until(lambda: ran.seen() == ["ran", "ran"], "the clone's own run")
    agent.send_signal(signal.SIGTERM)

    assert 0 == agent.wait(LONGEST_S)
    assert polls == waited


def test_cloud_init_may_end_before_anything_is_begun(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", RAN))
    boot(guest, NOVA)
    put(guest.root / "run/cloud-init/enabled", "")

    agent = guest.start("run", cloud_init_patience="600", min_polling_interval="0.1")
    until(lambda: guest.log().events("waits for cloud-init to end"), "the agent to wait")
    polled = endpoint.polls
    put(guest.root / "run/cloud-init/result.json", "{}")
    until(lambda: guest.seen() == ["ran"], "the deployment")
    agent.send_signal(signal.SIGTERM)

    assert 0 == agent.wait(LONGEST_S)
    assert 0 == polled


def test_a_cloud_init_that_does_not_end_is_waited_for_no_longer_than_that(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", RAN))
    boot(guest, NOVA)
    put(guest.root / "run/cloud-init/enabled", "")

    guest.start("run", cloud_init_patience="0.5", min_polling_interval="0.1")

    until(lambda: guest.seen() == ["ran"], "the deployment")


def test_without_cloud_init_and_firmware_nothing_is_noted(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", RAN))

    assert (0, 0) == (guest.once().status, guest.once().status)

    assert ["ran"] == guest.seen()
    assert not (guest.state / "instance.json").exists()


@pytest.mark.slow
def test_a_crash_at_any_call_leaves_nothing_of_the_former_machine_to_act_on(ran: Guest, tmp_path: Path) -> None:
    points = thinned(recorded(ran, tmp_path), AT_MOST)

    with ThreadPoolExecutor(3) as pool:  # a crash mostly waits
        found = list(pool.map(lambda n: after_crash(ran, points[n], tmp_path / str(n)), range(len(points))))

    assert len(points) > 10
    assert {} == {str(point): told for point, told in zip(points, found, strict=True) if told != (0, 0, {}, OTHER)}


def recorded(pattern: Guest, scratch: Path) -> list[Point]:
    """The calls of the agent on a clone's disk that touch the state."""
    with listening() as endpoint:
        clone = cloned(pattern, scratch / "record-root", endpoint)
        clone.once(environment=clone.shim(scratch / "record"))
    words = [line.split() for line in (scratch / "record").read_text().splitlines()]
    points = [Point(role, call, subject, int(number)) for role, call, subject, number in words]
    return [point for point in points if point.subject.startswith("var/lib")]


def after_crash(pattern: Guest, point: Point, scratch: Path) -> tuple[int, int, dict[str, str], str]:
    """Runs and signals after a crash and another start where no source answers, the states, whose it is."""
    scratch.mkdir()
    with listening() as endpoint:
        endpoint.metadata_status = 500
        clone = cloned(pattern, scratch / "root", endpoint)
        clone.once(environment=clone.shim(scratch / "record", SHIM_KILL=str(point), SHIM_VICTIMS="agent"))
        assert (scratch / "record.killed").exists(), point
        clone.once()
        note = json.loads((clone.state / "instance.json").read_text())
        return len(clone.seen()) - 1, len(endpoint.signals), clone.states(), note["cloud"]


def cloned(pattern: Guest, root: Path, endpoint: Endpoint) -> Guest:
    shutil.copytree(pattern.root, root, symlinks=True)
    clone = Guest(root, endpoint, flags={"once_patience": "0"})
    endpoint.metadata_status = 500
    boot(clone, OTHER)
    return clone
