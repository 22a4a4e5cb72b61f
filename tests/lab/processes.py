"""Processes the lab started, known by pid and start time, ended by those and by nothing else."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.model import Lab

STOP_TIMEOUT_S = 30.0
REPOSITORY = Path(__file__).parents[2]


def environment() -> dict[str, str]:
    """What a process of the lab may know of its surroundings: no proxies, no cloud of the user's."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8", "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}


def launch(lab: Lab, name: str, argv: list[str], *, tethered: bool) -> None:
    """Start one service in a session of its own, unless it runs already."""
    if running(lab, name):
        return
    if tethered:
        argv = [sys.executable, "-m", "tests.lab.tether", str(os.getpid()), *argv]
    log = str(lab.log / f"{name}.log")
    pid = os.posix_spawnp(
        argv[0],
        argv,
        environment(),
        setsid=True,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
    )
    (lab.run / f"{name}.pid").write_text(f"{pid} {started_at(pid)}\n")


def run(lab: Lab, argv: list[str], *, timeout_s: float = 600) -> None:
    """Run one short command of the set-up; its words go to log/setup.log."""
    log = lab.log / "setup.log"
    with log.open("ab") as out:
        done = subprocess.run(
            argv,
            env=environment(),
            cwd=lab.directory,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
        )
    if done.returncode:
        raise LabError(f"'{' '.join(argv[:4])}' ended with status {done.returncode}\n{tail(log)}")


def running(lab: Lab, name: str) -> int | None:
    """The pid of a service that this lab started and that still runs."""
    try:
        pid, born = (lab.run / f"{name}.pid").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    return int(pid) if started_at(int(pid)) == born else None


def stop(lab: Lab, name: str) -> None:
    """End one service: politely, then not."""
    if pid := running(lab, name):
        for number, patience_s in ((signal.SIGTERM, STOP_TIMEOUT_S), (signal.SIGKILL, STOP_TIMEOUT_S)):
            with suppress(ProcessLookupError):  # it ended by itself meanwhile
                os.kill(pid, number)
            if gone(lab, name, pid, patience_s):
                break
        else:
            raise LabError(f"{name} (pid {pid}) does not end")
    (lab.run / f"{name}.pid").unlink(missing_ok=True)


def gone(lab: Lab, name: str, pid: int, patience_s: float) -> bool:
    deadline = time.monotonic() + patience_s
    while True:
        with suppress(ChildProcessError):  # the child of an earlier command, not ours to reap
            os.waitpid(pid, os.WNOHANG)
        if not running(lab, name):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)


def started_at(pid: int) -> str | None:
    """The clock tick at which a live process began: a pid alone may have been given away again."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if state == "Z" else rest[18]


def resident_mib(pid: int) -> int:
    """Resident memory; 0 when the process has just gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmRSS:")), 0)


def tail(log: Path, lines: int = 12) -> str:
    """The end of a log, for an error message."""
    try:
        text = log.read_text(errors="replace")
    except FileNotFoundError:
        return f"(no {log})"
    return "\n".join([f"--- {log}", *text.splitlines()[-lines:]])
