"""A scratch guest: agents started on it as real processes, and what they left on its disk and in /proc."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.engine import Engine
from agent.settings import Given
from tests.conftest import CHECKOUT
from tests.process.endpoint import Endpoint
from tests.waiting import LONGEST_S, until

MARK = "OS_DEPLOY_AGENT_TEST"
SHIM = Path(__file__).parent / "shim"


@dataclass(frozen=True)
class Ended:
    status: int
    stdout: str
    stderr: str

    def events(self, name: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.stderr.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]


@dataclass
class Guest:
    """`root` is the guest's file system. Every process that it starts, and all they start, carry its mark."""

    root: Path
    endpoint: Endpoint
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    flags: dict[str, str] = field(default_factory=dict)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.root / "var/lib/os-deploy-agent"

    @property
    def deployed(self) -> Path:
        return self.root / "var/lib/heat-config/deployed"

    @property
    def witness(self) -> Path:
        return self.root / "witness"

    def seen(self) -> list[str]:
        """The lines that hooks have left."""
        return self.witness.read_text().split() if self.witness.exists() else []

    def argv(self, *command: str, **flags: str) -> list[str]:
        settings = {
            "collectors": "request",
            "request_metadata_url": self.endpoint.metadata_url,
            "kill_grace": "1",
            "read_timeout": f"{LONGEST_S - 10:.0f}",  # of an endpoint that shares its process with the tests
            "total_timeout": f"{LONGEST_S - 10:.0f}",
            **self.flags,
            **flags,
        }
        told = [word for name, value in settings.items() if value for word in ("--" + name.replace("_", "-"), value)]
        return [sys.executable, "-m", "agent", *command, "--root", str(self.root), *told]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "HOME": str(self.root),
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(CHECKOUT),
            "WITNESS": str(self.witness),
            MARK: self.mark,
            **more,
        }

    def shim(self, record: Path, **more: str) -> dict[str, str]:
        """An environment in which every call of the agent's processes goes through tests/process/shim."""
        path = f"{SHIM}{os.pathsep}{CHECKOUT}"
        return {"PYTHONPATH": path, "SHIM_ROOT": str(self.root), "SHIM_RECORD": str(record), **more}

    def start(
        self, *command: str, environment: Mapping[str, str] | None = None, log: Path | None = None, **flags: str
    ) -> subprocess.Popen[bytes]:
        """An agent that goes on; its log is `root`/agent.log."""
        with (log or self.root / "agent.log").open("ab") as file:
            child = subprocess.Popen(
                self.argv(*command, **flags),
                env=self.environment(**(environment or {})),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                cwd=self.root,
            )
        self.started.append(child)
        return child

    def once(
        self, *, environment: Mapping[str, str] | None = None, timeout_s: float = LONGEST_S, **flags: str
    ) -> Ended:
        """`agent --once` to its end."""
        out, err = self.root / f".out.{uuid.uuid4().hex}", self.root / f".err.{uuid.uuid4().hex}"
        with out.open("wb") as stdout, err.open("wb") as stderr:  # files: a runner that lives on holds a pipe open
            status = subprocess.run(
                self.argv("--once", **flags),
                env=self.environment(**(environment or {})),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                cwd=self.root,
                timeout=LONGEST_S,
            ).returncode
        return Ended(status, out.read_text(), err.read_text())

    def log(self) -> Ended:
        """What the daemon has said so far, in whole lines."""
        text = (self.root / "agent.log").read_text()
        return Ended(0, "", text[: text.rfind("\n") + 1])

    def journal(self) -> dict[str, dict[str, Any]]:
        return {path.stem: json.loads(path.read_bytes()) for path in sorted(self.state.glob("journal/*.json"))}

    def states(self) -> dict[str, str]:
        return {key: record["state"] for key, record in self.journal().items()}

    def rubble(self) -> list[str]:
        """Files that a write left half-done, or that could not be read any more."""
        below = [self.state, self.deployed]
        kinds = (".*", "*.corrupt")
        return [str(path) for directory in below for kind in kinds for path in directory.rglob(kind) if path.is_file()]

    def runners(self) -> list[int]:
        """Living processes of the agent itself; a hook whose runner was killed is the next agent's to end."""
        return [pid for pid in self.processes() if b"-m\0agent\0" in command_line(pid)]

    def processes(self) -> list[int]:
        """Everything alive that this guest's agents started, themselves included."""
        return marked(MARK, self.mark)

    def end(self) -> None:
        """Leave nothing behind, whatever a test did."""

        def gone() -> bool:
            kill(left := self.processes())
            return not left

        until(gone, "this guest's processes to be gone")
        for child in self.started:
            child.wait(LONGEST_S)


def opened(guest: Guest, clock: list[float] | None = None, **flags: str) -> Engine:
    """The engine in this process, on the state that agents left; `clock` holds the time that it believes in."""
    given = {"collectors": "request", "request.metadata_url": guest.endpoint.metadata_url, "kill_grace": "1"}
    engine = Engine(
        Given(guest.root, {**given, **guest.flags, **flags}),
        can_hold=False,
        clock=(lambda: clock[0]) if clock else time.time,
    )
    engine.open()
    return engine


def settle(engine: Engine) -> None:
    """Let what runs end, as the loop does."""
    for key, running in list(engine.running.items()):
        os.waitid(os.P_PIDFD, running.pidfd, os.WEXITED | os.WNOWAIT)
        engine.ended(key)


def marked(variable: str, value: str) -> list[int]:
    """Living processes whose environment holds `variable=value`."""
    wanted = f"{variable}={value}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):  # gone in between, or not ours to look at
            if wanted in (entry / "environ").read_bytes().split(b"\0") and alive(int(entry.name)):
                found.append(int(entry.name))
    return found


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rsplit(b")", 1)[1].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def put(path: Path, text: str) -> Path:
    """A file that changes at once: an agent that lives may read it at any moment."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    return new.rename(path)


def kill(pids: Iterable[int], number: int = signal.SIGKILL) -> None:
    """Signal each of them that has not ended by itself."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)
