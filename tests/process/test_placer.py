"""The placer as a real process, killed before each of its calls, and on a disk that is full or read-only from each on.

Whatever happens: each file is the old one or the new one, whole; the next run completes it and leaves no rubble; and
once the document is empty, everything is as it was before the first one, with its mode and owner.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from agent.apply import files, files_document
from agent.apply.files import Plan
from agent.errors import ApplyError
from agent.model import JsonMap
from tests.conftest import CHECKOUT, need, require
from tests.process.guest import SHIM
from tests.process.points import Point, thinned
from tests.waiting import LONGEST_S

pytestmark = pytest.mark.slow

HOMES = "var/lib/heat-config/heat-config-files"
AT_MOST = 25  # points of one mode
OURS = ("var", "etc", "l", ".agent")
MORE = "link symlink rmdir fchmod fchown"
FULL = {"SHIM_CALLS": "open write fsync mkdir", "SHIM_BELOW": " ".join(OURS[:3])}
READ_ONLY = {"SHIM_CALLS": f"open write fsync mkdir rename unlink {MORE}", "SHIM_BELOW": " ".join(OURS[:3])}

ORIGINALS = {"etc/changed": ("original\n", 0o604), "etc/gone": ("goes back\n", 0o640), "etc/hosts": ("local", 0o644)}
FIRST: JsonMap = {
    "/etc/changed": {"content": "one\n", "mode": "0600"},
    "/etc/gone": {"content": "one\n"},
    "/etc/hosts": {"content": "first", "append": True},
    "/etc/deep/new": {"content": "one\n", "mode": "0640"},
}
SECOND: JsonMap = {
    "/etc/changed": {"content": "two\n", "mode": "0644"},
    "/etc/hosts": {"content": "second", "append": True},
    "/etc/deep/new": {"content": "two\n", "mode": "0640"},
    "/l": {"link": "etc/changed"},
}
STEPS: dict[str, list[JsonMap]] = {"first": [FIRST], "second": [FIRST, SECOND], "empty": [FIRST, SECOND, {}]}

Seen: TypeAlias = dict[str, tuple[int, int, str]]
Step: TypeAlias = tuple[str, list[Point], list[Seen]]


@dataclass(frozen=True)
class Placed:
    """A guest on which documents are applied, one after the other."""

    scratch: Path

    @property
    def root(self) -> Path:
        return self.scratch / "root"

    def settle(self) -> Seen:
        for name, (text, mode) in ORIGINALS.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(mode)
        return self.seen()

    def apply(self, document: JsonMap) -> Plan:
        """Undisturbed, and in this process."""
        plan = self.plan(document)
        files.apply(plan, None)
        return plan

    def plan(self, document: JsonMap) -> Plan:
        entries = files_document.parse({"files": document})
        return files.plan(entries, self.root, self.root / HOMES, "web", lambda _url: b"")

    def disturbed(self, document: JsonMap, **shim: str) -> subprocess.CompletedProcess[str]:
        """`agent apply`, with every call of it through tests/process/shim."""
        file = self.scratch / "files.json"
        file.write_text(json.dumps({"files": document}))
        record = {"SHIM_RECORD": str(self.scratch / "record"), "SHIM_ROOT": str(self.root), "SHIM_ALSO": MORE}
        return subprocess.run(
            [sys.executable, "-m", "agent", "--root", str(self.root), "apply", str(file), "--name", "web"],
            env={"PATH": os.defpath, "PYTHONPATH": f"{SHIM}{os.pathsep}{CHECKOUT}", **record, **shim},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

    def seen(self) -> Seen:
        """Mode, owner and content of every file outside the agent's own memory."""
        found: Seen = {}
        for path in sorted(self.root.rglob("*")):
            name, at = str(path.relative_to(self.root)), path.lstat()
            if not stat.S_ISDIR(at.st_mode) and not name.startswith("var/") and not path.name.startswith(".agent-"):
                content = str(path.readlink()) if path.is_symlink() else path.read_text()
                found[name] = (stat.S_IMODE(at.st_mode), at.st_uid, content)
        return found

    def rubble(self) -> list[str]:
        return [str(path) for path in self.root.rglob(".agent-*")]


def record(step: str, scratch: Path) -> tuple[list[Point], list[Seen]]:
    """The calls of the last document of a step, undisturbed, and what is there before and after it."""
    scratch.mkdir()
    guest = Placed(scratch)
    guest.settle()
    *before, last = STEPS[step]
    for document in before:
        guest.apply(document)
    seen = [guest.seen()]
    done = guest.disturbed(last)
    assert 0 == done.returncode, done.stderr
    words = [line.split() for line in (scratch / "record").read_text().splitlines()]
    points = [Point(role, call, subject, int(number)) for role, call, subject, number in words]
    return [point for point in points if point.subject.startswith(OURS)], [*seen, guest.seen()]


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """In memory, where we can: a kill takes nothing from the kernel, so no disk need be waited for."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as scratch:
        yield Path(scratch)


@pytest.fixture(scope="module", params=list(STEPS))
def step(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, list[Point], list[Seen]]:
    name: str = request.param
    return name, *record(name, tmp_path_factory.mktemp("recorded") / name)


def spoil(name: str, states: list[Seen], scratch: Path, fault: Callable[[Placed], Iterator[str]]) -> list[str]:
    """Apply the documents of a step, the last one under a fault; tell what is wrong then, and afterwards."""
    (scratch / "root").mkdir(parents=True)
    guest = Placed(scratch)
    original = guest.settle()
    *before, last = STEPS[name]
    for document in before:
        guest.apply(document)
    wrong = [*fault(guest)]
    for path, seen in guest.seen().items():
        if seen not in [state.get(path) for state in states]:
            wrong.append(f"{path} is neither old nor new: {seen}")
    guest.apply(last)
    if not guest.plan(last).same or guest.seen() != states[1]:
        wrong.append(f"the next run does not complete it: {guest.plan(last).changes} {guest.seen()}")
    guest.apply({})
    if guest.seen() != original:
        wrong.append(f"the originals are not back: {guest.seen()}")
    if left := guest.rubble():
        wrong.append(f"left behind: {left}")
    return wrong


def each(points: list[Point], scratch: Path, judge: Callable[[int, Point, Path], list[str]]) -> dict[str, list[str]]:
    """What went wrong at which point, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        numbered = list(enumerate(points, 1))
        found = pool.map(lambda pair: judge(*pair, scratch / str(pair[0])), numbered)
        return {str(point): wrong for (_, point), wrong in zip(numbered, found, strict=True) if wrong}


def test_killed_before_any_call_nothing_is_lost(step: Step, memory: Path) -> None:
    name, points, states = step

    def judge(_number: int, point: Point, scratch: Path) -> list[str]:
        def killed(guest: Placed) -> Iterator[str]:
            ended = guest.disturbed(STEPS[name][-1], SHIM_KILL=str(point), SHIM_VICTIMS="agent")
            if ended.returncode != -9:
                yield f"the point was never reached: {ended.returncode}"

        return spoil(name, states, scratch, killed)

    assert len(points) >= 20
    assert {} == each(thinned(points, AT_MOST), memory / f"killed-{name}", judge)


@pytest.mark.parametrize(("error", "calls"), [("ENOSPC", FULL), ("EROFS", READ_ONLY)], ids=["full", "read-only"])
def test_a_disk_that_takes_no_more_leaves_every_file_as_it_was(
    step: Step, memory: Path, error: str, calls: dict[str, str]
) -> None:
    name, points, states = step
    names = calls["SHIM_CALLS"].split()
    writes = [point for point in points if point.call in names and point.subject.startswith(OURS[:3])]

    def judge(number: int, _point: Point, scratch: Path) -> list[str]:
        def full(guest: Placed) -> Iterator[str]:
            flag = scratch / "full"
            flag.touch()
            before = guest.seen()
            fault = {"SHIM_FAIL": f"{error} agent {numbers[number - 1]}", "SHIM_WHILE": str(flag)}
            ended = guest.disturbed(STEPS[name][-1], **calls, **fault)
            flag.unlink()
            if ended.returncode not in (1, 74) or os.strerror(getattr(errno, error)) not in ended.stderr:
                yield f"ended with {ended.returncode}: {ended.stderr}"
            if error == "ENOSPC" and guest.seen() not in (before, states[1]):
                yield f"not all as before: {guest.seen()}"
            if ended.returncode == 1 and (guest.seen() == states[1]) != ("are in their place" in ended.stderr):
                yield f"it does not say what it did: {ended.stderr}"

        return spoil(name, states, scratch, full)

    chosen = thinned(writes, AT_MOST // 2)
    numbers = [number for number, point in enumerate(writes, 1) if point in chosen]
    assert len(chosen) >= 10
    assert {} == each(chosen, memory / f"{error}-{name}", judge)


def test_no_file_takes_its_place_before_all_are_on_the_disk(step: Step) -> None:
    """What no kill can show, because the kernel keeps what a killed process wrote; only a power cut takes it."""
    _, points, _ = step
    placed = [at for at, point in enumerate(points) if point.call == "rename" and ".agent-" not in point.subject]

    assert len(placed) >= 4
    for at in placed:
        made = sum(1 for p in points[:at] if p.call == "open" and ".agent-" in p.subject)
        synced = sum(1 for p in points[:at] if p.call == "fsync" and ".agent-" in p.subject)
        assert made == synced, points[at]
        directory = points[at].subject.rpartition("/")[0]
        after = [point.call for point in points[at:] if point.subject == directory]
        assert "fsync" in after or not directory, points[at]  # the root itself has no name here


def test_a_disk_that_is_really_full_leaves_every_file_as_it_was(tmp_path: Path) -> None:
    need("mount", "umount")
    guest = Placed(tmp_path)
    guest.root.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(guest.root)], capture_output=True)
    require(mounted.returncode == 0, "needs the right to mount a tmpfs (root, CAP_SYS_ADMIN)")
    try:
        before = guest.settle()
        large: JsonMap = {**FIRST, "/etc/large": {"content": "x" * (512 << 10)}}

        with pytest.raises(ApplyError, match="No space left on device"):
            guest.apply(large)

        assert (before, []) == (guest.seen(), guest.rubble())
        guest.apply(FIRST)
        assert "one\n" == (guest.root / "etc/changed").read_text()
    finally:
        subprocess.run(["umount", str(guest.root)], check=True)
