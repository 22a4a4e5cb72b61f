"""Runs in the agent's own processes: counts the system calls that every arrow goes through, and spoils one of them.

Python imports this module by itself because its directory stands on PYTHONPATH. The product knows nothing of it.

    SHIM_RECORD   a file that gets one line for each call, `<role> <call> <subject> <how often so far>`
    SHIM_KILL     such a line; just before that call SIGKILL goes to ...
    SHIM_VICTIMS  ... these roles, comma-separated: agent, runner
    SHIM_FAIL     `<errno> <role> <n>`: from the n-th writing call of that role on they fail, as long as ...
    SHIM_WHILE    ... this file exists
    SHIM_CALLS    other calls than the writing ones, to fail so
    SHIM_BELOW    other places below the root than var/ in which they fail
    SHIM_ALSO     further functions of os to count and to spoil

The role is `agent` for the first process and `runner1`, `runner2` ... for its forked children. Helpers that a runner
forks are left alone.
"""

# ruff: noqa: PLW0603, PTH110, PTH115 - it stands below pathlib, and counts for a whole process

import contextlib
import errno
import fcntl
import os
import re
import selectors
import signal
import socket
import subprocess
import sys
from collections import Counter

ROOT = os.environ.get("SHIM_ROOT", "/nonexistent") + "/"
SPOILED = set(os.environ.get("SHIM_CALLS", "open write fsync rename mkdir").split())
BELOW = (*os.environ.get("SHIM_BELOW", "var/").split(), "-")
TEMPORARY = re.compile(r"[.]agent-[0-9]+-[0-9a-f]{16}[.]tmp")
TOP = os.getpid()

role = "agent"
runners = {}
seen = Counter()
writes = 0
real_open, real_write, real_close = os.open, os.write, os.close


def subject_of(value):
    """A path below the root, without what differs between two runs; sockets and pipes by their kind."""
    if isinstance(value, int):
        try:
            value = os.readlink(f"/proc/self/fd/{value}")
        except OSError:
            value = "?"
    text = os.fspath(value)
    text = text.decode() if isinstance(text, bytes) else text
    if not text.startswith("/") and ":[" in text:
        return text.partition(":[")[0]
    text = TEMPORARY.sub(".agent-PID.tmp", text.removeprefix(ROOT))
    return text.replace(f".{os.getpid()}.", ".PID.").replace(" ", "_") or "-"


def append(path, line):
    fd = real_open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    real_write(fd, line.encode() + b"\n")
    real_close(fd)


def reached(call, subject):
    """One call is about to happen: note it, die before it, or refuse it."""
    global writes
    if role == "helper":
        return
    seen[call, subject] += 1
    point = f"{role} {call} {subject} {seen[call, subject]}"
    if "SHIM_RECORD" in os.environ:
        append(os.environ["SHIM_RECORD"], point)
    if os.environ.get("SHIM_KILL") == point:
        die(os.environ["SHIM_VICTIMS"].split(","))
    if call in SPOILED and subject.startswith(BELOW):
        writes += 1
        refuse(call, subject)


def die(victims):
    others = list(runners) if role == "agent" else [TOP]
    myself = ("agent" if role == "agent" else "runner") in victims
    append(os.environ["SHIM_RECORD"] + ".killed", role)
    for pid in others if len(victims) == 2 or not myself else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if myself:
        os.kill(os.getpid(), signal.SIGKILL)


def refuse(call, subject):
    if call in ("mkdir", "open") and os.path.exists(ROOT + subject):
        return  # a full disk does not mind, and EEXIST goes before EROFS
    if "SHIM_FAIL" not in os.environ or not os.path.exists(os.environ["SHIM_WHILE"]):
        return
    name, who, first = os.environ["SHIM_FAIL"].split()
    if role == who and writes >= int(first):
        append(os.environ["SHIM_RECORD"] + ".refused", f"{role} {writes}")
        number = getattr(errno, name)
        raise OSError(number, os.strerror(number))


def before(owner, name, subject=lambda *_: "-", call=""):
    """Put `reached` in front of a function of a module or a method of a class."""
    real = getattr(owner, name)

    def wrapped(*args, **kwargs):
        what = subject(*args)
        if what is not None:
            reached(call or name, what)
        return real(*args, **kwargs)

    setattr(owner, name, wrapped)


def first(value, *_):
    return subject_of(value)


def created(path, flags, *_):
    return subject_of(path) if flags & os.O_CREAT else None


def real_open_below(path, flags, mode=0o777, *, dir_fd=None):
    if flags & os.O_CREAT:
        below = "" if dir_fd is None else subject_of(dir_fd) + "/"
        reached("open", below + subject_of(path))
    return real_open(path, flags, mode, dir_fd=dir_fd)


def rename_below(real):
    def wrapped(source, target, *, src_dir_fd=None, dst_dir_fd=None):
        below = "" if dst_dir_fd is None else subject_of(dst_dir_fd) + "/"
        reached("rename", below + subject_of(target))
        return real(source, target, src_dir_fd=src_dir_fd, dst_dir_fd=dst_dir_fd)

    return wrapped


def fork(real=os.fork):
    global role, writes
    reached("fork", "-")
    pid = real()
    if pid:
        runners[pid] = True
        return pid
    role = f"runner{len(runners) + 1}" if role == "agent" else "helper"
    seen.clear()
    writes = 0
    reached("born", "-")
    return pid


def install():
    os.open = real_open_below
    os.rename, os.replace = rename_below(os.rename), rename_below(os.replace)
    os.fork = fork
    also = os.environ.get("SHIM_ALSO", "").split()
    for name in ("write", "pwrite", "fsync", "unlink", "mkdir", "ftruncate", *also):
        before(os, name, first)
    for name in ("pipe", "pidfd_open", "setsid", "waitpid", "_exit"):
        before(os, name)
    before(fcntl, "flock", first)
    before(subprocess.Popen, "_execute_child")
    before(selectors.DefaultSelector, "select", call="wait")
    for name in ("connect", "sendall", "recv_into"):
        before(socket.socket, name)
    sys.dont_write_bytecode = True


if "SHIM_RECORD" in os.environ:
    install()
