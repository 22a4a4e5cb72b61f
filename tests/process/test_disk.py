"""A disk that is full or read-only at any write: no hook runs without memory, and all is well once there is room."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import need, require
from tests.process.endpoint import Endpoint, listening
from tests.process.guest import Ended, Guest, alive
from tests.process.points import NAMES, Point, serve, thinned
from tests.waiting import until

pytestmark = pytest.mark.slow

WRITING = ("open", "write", "fsync", "rename", "mkdir")
WORDS = {"ENOSPC": "No space left on device", "EROFS": "Read-only file system"}
SCRIPT = "#!/bin/sh\necho begin >> $WITNESS\necho printed\n"


def starve(error: str, role: str, first: int, scratch: Path) -> list[str]:
    """Let every write of `role` from its `first` on fail, then make room; tell what went wrong."""
    root, flag = scratch / "root", scratch / "full"
    root.mkdir(parents=True)
    flag.touch()
    with listening() as endpoint:
        guest = Guest(root, endpoint)
        serve(endpoint)
        fault = {"SHIM_FAIL": f"{error} {role} {first}", "SHIM_WHILE": str(flag)}
        try:
            starved = guest.once(environment=guest.shim(scratch / "record", **fault))
            if not (scratch / "record.refused").exists():  # that write went to what was there already
                return [] if starved.status == 0 else [f"nothing was refused, and it ended with {starved.status}"]
            unmarked = [name for name in NAMES if name_ran(guest, name) and not mark(guest, name).exists()]
            if guest.runners():  # it tries again, with nobody left to complain to
                known = refused(scratch)
                until(lambda: refused(scratch) > known or not guest.runners(), "another try in vain, or the end of it")
            flag.unlink()
            until(lambda: not guest.runners(), "the runner to store its outcome")
            again = guest.once()
            return [
                *(f"{name}: its hook ran without its mark" for name in unmarked),
                *starved_faults(starved, error),
                *recovered_faults(guest, again, error),
            ]
        except AssertionError as exc:
            return [str(exc)]
        finally:
            guest.end()


def refused(scratch: Path) -> int:
    return len((scratch / "record.refused").read_bytes())


def name_ran(guest: Guest, name: str) -> bool:
    return f"begin-{name}" in guest.seen()


def mark(guest: Guest, name: str) -> Path:
    return guest.deployed / f"id-{name}.json"


def starved_faults(starved: Ended, error: str) -> Iterator[str]:
    if starved.status != 74:
        yield f"ended with {starved.status}, not 74: {starved.stderr}"
    if WORDS[error] not in starved.stderr or "Traceback" in starved.stderr:
        yield f"no clear message: {starved.stderr}"


def recovered_faults(guest: Guest, again: Ended, error: str) -> Iterator[str]:
    for name in NAMES:
        signals, ran = guest.endpoint.of(name), guest.seen().count(f"begin-{name}")
        if ran > 1:
            yield f"{name}: its hook ran {ran} times"
        if not signals:
            yield f"{name}: its outcome never reached the endpoint"
        elif any(signal.body != signals[0].body for signal in signals):
            yield f"{name}: two different outcomes were sent"
        elif ran and signals[0].judged != "COMPLETE":
            yield f"{name}: it ran, but its outcome was lost: {signals[0].body}"
        elif not ran and WORDS[error] not in signals[0].stderr:
            yield f"{name}: not run, and the endpoint is not told why: {signals[0].body}"
    if guest.states() != {f"id-{name}": "signalled" for name in NAMES} or again.status not in (0, 1):
        yield f"with room again it ends with {again.status} and {guest.states()}: {again.stderr}"
    if guest.processes() or guest.rubble():
        yield f"left behind: {guest.processes()} {guest.rubble()}"


def starve_at_each(points: list[Point], error: str, role: str, scratch: Path) -> dict[str, list[str]]:
    """What went wrong at which write of `role`."""
    writes = [p for p in points if p.role == role and p.call in WRITING and p.subject.startswith("var/")]
    chosen = set(writes if error == "ENOSPC" else thinned(writes, 15))
    numbered = [(number, point) for number, point in enumerate(writes, 1) if point in chosen]
    assert len(numbered) >= 10
    with ThreadPoolExecutor(3) as pool:
        found = pool.map(lambda pair: starve(error, role, pair[0], scratch / str(pair[0])), numbered)
        return {f"{number}: {point}": wrong for (number, point), wrong in zip(numbered, found, strict=True) if wrong}


@pytest.mark.parametrize("error", ["ENOSPC", "EROFS"])
def test_an_agent_that_cannot_write_runs_no_hook_and_recovers(
    recorded: list[Point],
    error: str,
    tmp_path: Path,
) -> None:
    assert {} == starve_at_each(recorded, error, "agent", tmp_path)


@pytest.mark.parametrize("error", ["ENOSPC", "EROFS"])
def test_a_runner_that_cannot_write_keeps_its_outcome_until_there_is_room(
    recorded: list[Point],
    error: str,
    tmp_path: Path,
) -> None:
    assert {} == starve_at_each(recorded, error, "runner1", tmp_path)


@pytest.fixture
def small_disk(root: Path) -> Iterator[Path]:
    """A file system of 1 MiB as the guest's /var."""
    need("mount", "umount")
    var = root / "var"
    var.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(var)], capture_output=True)
    require(mounted.returncode == 0, "needs the right to mount a tmpfs (root, CAP_SYS_ADMIN)")
    try:
        yield var
    finally:
        until(lambda: unmounted(var), "the small disk to be let go")


def unmounted(path: Path) -> bool:
    return subprocess.run(["umount", str(path)], capture_output=True).returncode == 0


def fill(disk: Path) -> Path:
    """Not one byte is left after this."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return filler


@pytest.fixture
def guest(small_disk: Path, root: Path, endpoint: Endpoint) -> Iterator[Guest]:
    """A guest that lets go of the small disk before that is unmounted."""
    made = Guest(root, endpoint)
    yield made
    made.end()


def test_no_hook_runs_on_a_full_disk(guest: Guest, endpoint: Endpoint, small_disk: Path) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    filler = fill(small_disk)

    starved = guest.once()

    assert (74, [], []) == (starved.status, guest.seen(), endpoint.signals)
    assert "No space left on device; free some space" in starved.stderr

    filler.unlink()

    assert 0 == guest.once().status
    assert (["begin"], ["COMPLETE"]) == (guest.seen(), [signal.judged for signal in endpoint.signals])


def test_no_hook_runs_on_a_read_only_disk(guest: Guest, endpoint: Endpoint, small_disk: Path) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    endpoint.metadata_status = 503
    assert 2 == guest.once().status
    endpoint.metadata_status = 200
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    starved = guest.once()

    assert (74, [], []) == (starved.status, guest.seen(), endpoint.signals)
    assert "Read-only file system; mount it read-write" in starved.stderr

    subprocess.run(["mount", "-o", "remount,rw", str(small_disk)], check=True)

    assert 0 == guest.once().status
    assert (["begin"], ["COMPLETE"]) == (guest.seen(), [signal.judged for signal in endpoint.signals])


def test_an_outcome_that_finds_a_full_disk_waits_in_its_runner(
    guest: Guest, endpoint: Endpoint, small_disk: Path
) -> None:
    filler = small_disk / "filler"
    endpoint.serve(endpoint.script("web", f"{SCRIPT}cat /dev/zero > {filler} 2>/dev/null\nexit 0\n"))

    starved = guest.once()

    assert (74, ["begin"], []) == (starved.status, guest.seen(), endpoint.signals)
    held = re.search(r"the outcome of id-web is held by process (\d+) until there is room", starved.stderr)
    assert held

    filler.unlink()  # the lock that the agent has let go of may have been room enough already
    until(lambda: not alive(int(held[1])), "the runner to store its outcome")

    assert 0 == guest.once().status
    assert (["begin"], ["printed\n"]) == (guest.seen(), [sent.body["deploy_stdout"] for sent in endpoint.signals])


def test_a_daemon_on_a_full_disk_waits_for_room(guest: Guest, endpoint: Endpoint, small_disk: Path) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    filler = fill(small_disk)
    daemon = guest.start("run")
    until(lambda: guest.log().events("state cannot be kept, no deployment is begun"), "the daemon to complain")
    assert (None, [], []) == (daemon.poll(), guest.seen(), endpoint.signals)

    filler.unlink()

    until(lambda: endpoint.signals, "the outcome")
    assert (["begin"], ["COMPLETE"]) == (guest.seen(), [signal.judged for signal in endpoint.signals])


def test_the_space_of_a_killed_write_is_given_back(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    assert 0 == guest.once().status
    left = [guest.state / "journal/.id-web.json.4711.tmp", guest.deployed / ".id-web.notify.json.4711.tmp"]
    for path in left:
        shutil.copy(guest.deployed / "id-web.json", path)

    assert 0 == guest.once().status
    assert [] == [path for path in left if os.path.lexists(path)]


def test_a_guest_without_room_for_a_process_runs_the_hook_later(root: Path, tmp_path: Path, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", SCRIPT))
    roomless = tmp_path / "roomless"
    roomless.touch()
    guest = Guest(root, endpoint)
    fault = {"SHIM_FAIL": "EAGAIN agent 1", "SHIM_CALLS": "fork", "SHIM_WHILE": str(roomless)}

    starved = guest.once(environment=guest.shim(tmp_path / "record", **fault))

    assert (74, []) == (starved.status, guest.seen())
    assert "starting the runner of id-web: Resource temporarily unavailable" in starved.stderr
    assert (0, ["begin"]) == (guest.once().status, guest.seen())
