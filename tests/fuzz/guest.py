"""Two guests that are alike but for whose programs they have: what is run in one is run in the other.

A guest is a directory with the programs of this machine mounted into it, without a network, entered by chroot. Both
sides see the same absolute paths, so their words and files can be compared as they are.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from tests.conftest import CHECKOUT
from tests.tools import install
from tests.waiting import LONGEST_S

OURS, THEIRS = "ours", "theirs"
MOUNTED = "/agent"
FAKES = "/opt/fakes"
CALLS = "/srv/calls"
PATH = f"{FAKES}:/usr/sbin:/usr/bin:/sbin:/bin"
STAND_INS = ("/usr/bin/systemctl", "/usr/sbin/useradd", "/usr/sbin/usermod", "/usr/sbin/groupadd", "/usr/bin/apt-get")
DEVICES = ("null", "zero", "urandom", "random")
BASE = {
    "etc/passwd": "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/nowhere:/bin/sh\nme:x:1000:1000::/:/bin/sh\n",
    "etc/group": "root:x:0:\nweb:x:33:\nme:x:1000:\n",
}
NO_ENVIRONMENT: Mapping[str, str] = MappingProxyType({})


class Entry(NamedTuple):
    """What a path is: its kind and mode, owner, and the bytes of a file or the target of a link."""

    mode: str
    uid: int
    gid: int
    content: bytes | str | None = None


Tree = dict[str, Entry]


@dataclass(frozen=True)
class File:
    """A file to lay: bytes with a mode, or a link; or a directory."""

    content: bytes = b""
    mode: int = 0o644
    link: str | None = None
    directory: bool = False


@dataclass(frozen=True)
class Step:
    """One call of one tool, after these files were laid (None removes one)."""

    tool: str
    argv: tuple[str, ...] = ()
    files: Mapping[str, File | None] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=lambda: NO_ENVIRONMENT)


@dataclass(frozen=True)
class Seen:
    """How a call ended, and what the guest held before and afterwards."""

    status: int | None
    stdout: bytes
    stderr: bytes
    before: Tree
    tree: Tree

    @property
    def touched_nothing(self) -> bool:
        """Nothing is other than before, but for logs and the tools' own memory of metadata."""
        names = self.before.keys() | self.tree.keys()
        other = {name for name in names if self.before.get(name) != self.tree.get(name)}
        return all(name.startswith(("var/log", "var/cache/heat-cfntools")) for name in other)


class Guest:
    """One side."""

    def __init__(self, root: Path, side: str) -> None:
        self.root, self.side = root, side
        python, first = _interpreter(side)
        self.path = f"{first}:{PATH}"
        self._fixed = _furnish(root, [Path(found) for found in _mounted(python)])
        environ = {"PATH": PATH, "PYTHONPATH": MOUNTED, "LC_ALL": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}
        server = [python, f"{MOUNTED}/tests/fuzz/server.py", side]
        enter = f'{_mounts(root, _mounted(python))}exec chroot "$@"'
        self._server = subprocess.Popen(
            ["unshare", "--mount", "--net", "--propagation", "private", "sh", "-ec", enter, "sh", str(root), *server],
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def close(self) -> None:
        self._server.communicate(timeout=LONGEST_S)

    def clear(self) -> None:
        """Back to an empty guest."""
        for entry in os.scandir(self.root):
            if entry.name not in self._fixed:
                _remove(Path(entry.path))
        for name in ("etc", "opt/fakes", "var/log", "var/lib", "var/run", "var/tmp", "var/cache", "srv", "w"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "run").symlink_to("var/run")
        awk = shutil.which("awk")  # usually by way of /etc, which is the guest's own
        assert awk, "needs awk on PATH"
        (self.root / FAKES.lstrip("/") / "awk").symlink_to(os.path.realpath(awk))
        for name, text in BASE.items():
            (self.root / name).write_text(text)

    def lay(self, files: Mapping[str, File | None]) -> None:
        for name, file in files.items():
            path = self.root / name
            if file is None or not file.directory:
                path.unlink(missing_ok=True)
            if file is not None:
                _lay(path, file)

    def call(self, step: Step) -> Seen:
        self.lay(step.files)
        before = self.tree()
        environ = {"PATH": self.path, "LC_ALL": "C.UTF-8", "HOME": "/root", "TMPDIR": "/var/tmp", **step.environ}
        request = {"tool": step.tool, "argv": step.argv, "env": environ, "cwd": "/w", "stdin": ""}
        assert self._server.stdin
        assert self._server.stdout
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        line = self._server.stdout.readline()
        assert line, f"the server of {self.side} has ended"
        answer = json.loads(line)
        stdout, stderr = (answer[name].encode("latin-1") for name in ("stdout", "stderr"))
        return Seen(answer["status"], stdout, stderr, before, self.tree())

    def tree(self) -> Tree:
        """Everything in the guest that is not mounted into it: kind and mode, owner, content."""
        waiting = [Path(entry.path) for entry in os.scandir(self.root) if entry.name not in self._fixed]
        found: Tree = {}
        while waiting:
            path = waiting.pop()
            at = path.lstat()
            content: bytes | str | None = None
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_dir():
                waiting += path.iterdir()
            elif path.is_file():
                content = path.read_bytes()
            found[str(path.relative_to(self.root))] = Entry(oct(at.st_mode), at.st_uid, at.st_gid, content)
        return found


@dataclass(frozen=True)
class Pair:
    """Both guests."""

    theirs: Guest
    ours: Guest

    def run(self, steps: tuple[Step, ...]) -> Iterator[tuple[Step, Seen, Seen]]:
        """Each step on both sides, as it was seen there: theirs, then ours."""
        for guest in (self.theirs, self.ours):
            guest.clear()
        for step in steps:
            yield step, self.theirs.call(step), self.ours.call(step)


@contextmanager
def pair() -> Iterator[Pair]:
    """Two guests, in memory where there is such a place: what is synced there costs nothing."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="guests-", dir=shared if shared.is_dir() else None) as scratch:
        guests = [Guest(Path(scratch, side), side) for side in (THEIRS, OURS)]
        try:
            yield Pair(*guests)
        finally:
            for guest in guests:
                guest.close()


def _lay(path: Path, file: File) -> None:
    if file.directory:
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(file.mode)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    if file.link is not None:
        path.symlink_to(file.link)
        return
    path.write_bytes(file.content)
    path.chmod(file.mode)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


@functools.cache
def _interpreter(side: str) -> tuple[str, str]:
    """The interpreter of a side, and the directory of its programs."""
    if side == OURS:
        return sys.executable, FAKES
    programs = install.directory("peers")
    assert programs, "needs the tools that are replaced: python -m tests.tools install"
    return str(programs / "python"), str(programs)


@functools.cache
def _mounted(python: str) -> tuple[str, ...]:
    """What an interpreter needs of this machine: its environment, and what that was made from."""
    asked = subprocess.run(
        [python, "-c", "import sys; print(sys.prefix); print(sys.base_prefix)"],
        check=True,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    return tuple(dict.fromkeys(path for path in asked.stdout.split() if not path.startswith("/usr")))


def _furnish(root: Path, mounted: list[Path]) -> frozenset[str]:
    """The places to mount on; the names in the root that are never cleared."""
    for path in [Path("/usr"), Path("/proc"), Path(MOUNTED), *mounted]:
        (root / path.relative_to("/")).mkdir(parents=True)
    (root / "dev").mkdir()
    for name in DEVICES:
        (root / "dev" / name).touch()
    for name in ("bin", "sbin", "lib", "lib64"):
        found = Path("/", name)
        if found.is_symlink():
            (root / name).symlink_to(found.readlink())
        elif found.is_dir():
            (root / name).mkdir()
    return frozenset(entry.name for entry in os.scandir(root))


def _mounts(root: Path, prefixes: tuple[str, ...]) -> str:
    """Shell lines that mount what `_furnish` made room for."""
    own = [path for path in ("/bin", "/sbin", "/lib", "/lib64") if Path(path).is_dir() and not Path(path).is_symlink()]
    readable = {path: path for path in ("/usr", *own, *prefixes)} | {str(CHECKOUT): MOUNTED}
    lines = [
        f"mount --bind '{path}' '{root}{at}'\nmount -o remount,bind,ro '{root}{at}'\n" for path, at in readable.items()
    ]
    stand_in = f"{CHECKOUT}/tests/fuzz/stand-in"
    lines += [f"mount --bind '{stand_in}' '{root}{name}'\n" for name in STAND_INS if Path(name).exists()]
    lines += [f"mount --bind /dev/{name} '{root}/dev/{name}'\n" for name in DEVICES]
    return "".join([*lines, f"mount --bind /proc '{root}/proc'\n"])
