"""Running programs: a deadline for the whole tree, bounded output, nothing left behind unless it ended by itself.

The only module that imports subprocess. A program runs in a session of its own below a child subreaper, so that every
descendant, however it daemonised, is found again by walking /proc from this process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TypeAlias

from agent import tree
from agent.errors import Interrupted as Interrupted  # noqa: PLC0414 - who runs programs catches it from here

CHUNK = 1 << 18
INTERRUPTED_GRACE_S = 2.0

# What belongs to the agent's own service and must not leak into what it starts.
_OWN_ENVIRONMENT = frozenset(
    {
        *("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"),
        *("CREDENTIALS_DIRECTORY", "PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV"),
    }
)
Tee: TypeAlias = Callable[[bytes], object]
MORE, NOTHING, END = "more", "nothing", "end"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Kept:
    """The first and the last `limit // 2` bytes of a stream, and how many there were."""

    def __init__(self, limit: int) -> None:
        self._half = max(limit // 2, 1)
        self._head = bytearray()
        self._tail = bytearray()
        self.total = 0

    def add(self, chunk: bytes) -> None:
        self.total += len(chunk)
        room = self._half - len(self._head)
        if room > 0:
            self._head += chunk[:room]
            chunk = chunk[room:]
        self._tail += chunk
        if len(self._tail) > 4 * self._half:
            del self._tail[: -self._half]

    @property
    def cut(self) -> int:
        return max(self.total - 2 * self._half, 0)

    def bytes(self) -> bytes:
        """Everything, or head and tail around a line that says how much is missing."""
        if not self.cut:
            return bytes(self._head + self._tail)
        note = b"\n[... %d bytes cut here, see the log on the guest ...]\n" % self.cut
        return bytes(self._head) + note + bytes(self._tail[-self._half :])

    def text(self) -> str:
        return self.bytes().decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended: its status as a shell would tell it, the signal that ended it or 0, and what it printed."""

    status: int
    stdout: Kept = field(repr=False)
    stderr: Kept = field(repr=False)
    timed_out: bool = False
    seconds: float = 0.0
    signal: int = 0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a program runs as: all its user ids, all its group ids, and nothing but these further groups."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a hook: ours without what belongs to our own service, a usable PATH, locale and HOME."""
    inherited = {name: value for name, value in os.environ.items() if name not in _OWN_ENVIRONMENT}
    defaults = {"PATH": DEFAULT_PATH, "LANG": "C.UTF-8", "HOME": "/root" if os.geteuid() == 0 else "/"}
    return {**defaults, **inherited, **extra}


def run(
    argv: list[str],
    *,
    env: Mapping[str, str],
    cwd: Path,
    timeout_s: float,
    grace_s: float = 10.0,
    stdin: bytes = b"",
    keep: int = 450_000,
    keep_stdout: int | None = None,
    tee: Tee | None = None,
    identity: Identity | None = None,
    limits: Mapping[str, int] | None = None,
) -> Finished:
    """Run a program to its end, or to the end of its time together with all its descendants.

    `keep` bytes of each stream are kept, `tee` sees every chunk as it comes. A descendant that outlives a program
    which ended in time stays (people start services so); one that holds the pipes is not waited for. `limits` are in
    the words of setrlimit(2), `RLIMIT_AS`. Raises OSError when the program cannot be started.
    """
    tree.become_subreaper()
    began = time.monotonic()
    before = set(tree.descendants(os.getpid()))
    given = _readable(stdin)
    switched = None if limits else identity
    try:
        child = subprocess.Popen(
            _limited(argv, limits, identity) if limits else argv,
            env=dict(env),
            cwd=cwd,
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            bufsize=0,
            user=switched.uid if switched else None,
            group=switched.gid if switched else None,
            extra_groups=list(switched.groups) if switched else None,
        )
    except Interrupted:  # the program may run although nobody was told its id
        tree.end(grace_s, spare=before)
        raise
    finally:
        if given != subprocess.DEVNULL:
            os.close(given)
    assert child.stdout is not None and child.stderr is not None
    kept = {child.stdout: Kept(keep_stdout or keep), child.stderr: Kept(keep)}
    try:
        timed_out = _follow(child, kept, began + timeout_s, tee)
    except BaseException:
        tree.end(grace_s, spare=before)
        child.wait()
        raise
    if timed_out:
        tree.end(grace_s, spare=before)
        child.wait()
    _drain(kept, tee)
    out, err = kept[child.stdout], kept[child.stderr]
    signal = max(-child.returncode, 0)
    return Finished(_status(child.returncode), out, err, timed_out, time.monotonic() - began, signal)


def ask(argv: list[str], *, timeout_s: float, fine: tuple[int, ...] = (0,)) -> str:
    """The output of a small system tool. Unlike `run` it changes nothing in this process, so the agent may call it.

    Raises OSError when the tool is missing, ends with a status that is not `fine`, or takes too long.
    """
    try:
        done = subprocess.run(
            argv, env=environment({}), stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise OSError(errno.ETIMEDOUT, f"not done within {timeout_s:.0f} s", argv[0]) from exc
    if done.returncode not in fine:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[:200]
        raise OSError(errno.EIO, f"ended with {done.returncode}{f' ({said})' if said else ''}", argv[0])
    return done.stdout.decode("utf-8", "replace")


def shell(command: str, extra: Mapping[str, str]) -> int:
    """Run a command line of the operator's to its end, streams and environment shared; its return code as Popen's."""
    return subprocess.run(["/bin/sh", "-c", command], env={**os.environ, **extra}, check=False).returncode


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended that had our own stdin, stdout and stderr."""

    status: int
    timed_out: bool = False


def attend(
    argv: list[str],
    *,
    env: Mapping[str, str],
    deadline: float,
    grace_s: float = 0.0,
    cwd: Path | None = None,
    umask: int = -1,
    pass_fds: tuple[int, ...] = (),
) -> Ended:
    """Run a program on our own streams, to its end or to the deadline (of time.monotonic()) with all its descendants.

    What it leaves behind when it ended in time stays, as with `run`. Raises OSError when it cannot be started.
    """
    tree.become_subreaper()
    before = set(tree.descendants(os.getpid()))
    child: subprocess.Popen[bytes] | None = None
    try:
        child = subprocess.Popen(argv, env=dict(env), cwd=cwd, umask=umask, pass_fds=pass_fds)
        child.wait(None if deadline == float("inf") else max(deadline - time.monotonic(), 0.0))
    except subprocess.TimeoutExpired:
        assert child is not None
        tree.end(grace_s, spare=before)
        return Ended(_status(child.wait()), timed_out=True)
    except BaseException:  # we are to end, perhaps before Popen could return: what runs may end itself first
        tree.end(grace_s or INTERRUPTED_GRACE_S, spare=before)
        if child:
            child.wait()
        raise
    return Ended(_status(child.returncode))


# Limits are set by a process between us and the program: in this one they would bind ourselves, and a preexec_fn may
# deadlock. It becomes somebody else last but one, so that our Python need not be theirs to execute.
_LIMITER = """import os, resource, sys
names, numbers, uid, gid, groups, *argv = sys.argv[1:]
wanted = [(getattr(resource, n), int(v)) for n, v in zip(names.split(), numbers.split())]
if uid:
    os.setgroups([int(group) for group in groups.split()])
    os.setresgid(*[int(gid)] * 3)
for kind, value in wanted:
    hard = resource.getrlimit(kind)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (value, value))
if uid:
    os.setresuid(*[int(uid)] * 3)
try:
    os.execv(argv[0], argv)
except OSError as exc:
    os.write(2, f"{argv[0]} could not be started within its limits: {exc.strerror}\\n".encode())
    os._exit(127 if isinstance(exc, FileNotFoundError) else 126)
"""


def _limited(argv: list[str], limits: Mapping[str, int], identity: Identity | None) -> list[str]:
    who = [str(identity.uid), str(identity.gid), " ".join(map(str, identity.groups))] if identity else ["", "", ""]
    numbers = [" ".join(limits), " ".join(map(str, limits.values()))]
    return [sys.executable, "-I", "-S", "-c", _LIMITER, *numbers, *who, *argv]


def _status(returncode: int) -> int:
    return returncode if returncode >= 0 else 128 - returncode


def _readable(data: bytes) -> int:
    """A descriptor to read `data` from, which no slow reader can block."""
    if not data:
        return subprocess.DEVNULL
    fd = os.memfd_create("stdin", os.MFD_CLOEXEC)
    with os.fdopen(os.dup(fd), "wb") as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _follow(child: subprocess.Popen[bytes], kept: Mapping[IO[bytes], Kept], deadline: float, tee: Tee | None) -> bool:
    """Read both pipes until the program ends (False) or its time does (True)."""
    with selectors.DefaultSelector() as selector:
        for pipe in kept:
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, pipe)
        pidfd = os.pidfd_open(child.pid)
        selector.register(pidfd, selectors.EVENT_READ)
        try:
            while child.poll() is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    return True
                for key, _ in selector.select(left):
                    if key.data and _read(key.data, kept[key.data], tee) is END:
                        selector.unregister(key.data)
        finally:
            os.close(pidfd)
    return False


def _read(pipe: IO[bytes], kept: Kept, tee: Tee | None) -> str:
    """Take one chunk: MORE when there was one, NOTHING when there is none just now, END at the end of the stream."""
    try:
        chunk = os.read(pipe.fileno(), CHUNK)
    except BlockingIOError:
        return NOTHING
    kept.add(chunk)
    if chunk and tee:
        tee(chunk)
    return MORE if chunk else END


def _drain(kept: Mapping[IO[bytes], Kept], tee: Tee | None) -> None:
    """What is still in the pipes; one that a left-behind daemon keeps open gets a reader for as long as it lives.

    The program itself has left no more than a pipe holds: what comes beyond that is the daemon's.
    """
    held = []
    for pipe, keep in kept.items():
        most = keep.total + fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
        while (state := _read(pipe, keep, tee)) is MORE and keep.total <= most:
            pass
        if state is not END:
            held.append(pipe)
    if held:
        _leave_reader([pipe.fileno() for pipe in held])
    for pipe in kept:
        pipe.close()


def _leave_reader(fds: Iterable[int]) -> None:
    """A child that throws away what a left-behind daemon prints: without a reader its next line would kill it."""
    if os.fork():
        return
    try:
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(null, standard)
        held = [os.dup2(fd, 3 + position) for position, fd in enumerate(sorted(fds))]
        os.closerange(3 + len(held), os.sysconf("SC_OPEN_MAX"))
        with selectors.DefaultSelector() as selector:
            for fd in held:
                selector.register(fd, selectors.EVENT_READ)
            while selector.get_map():
                for key, _ in selector.select():
                    with suppress(BlockingIOError):
                        if not os.read(key.fd, CHUNK):
                            selector.unregister(key.fd)
    finally:
        os._exit(0)


def only_descriptors(*kept: int) -> None:
    """Close everything of the agent's but `kept`; the standard streams become /dev/null."""
    first = 0
    for fd in sorted(kept):
        os.closerange(first, fd)
        first = fd + 1
    os.closerange(first, os.sysconf("SC_OPEN_MAX"))
    for _ in range(3):
        os.open(os.devnull, os.O_RDWR)
