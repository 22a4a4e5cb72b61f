"""A scratch guest for one tool: the agent's command line on it, and what it left running."""

import json
import os
import signal
import subprocess
import sys
import uuid
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests import hours
from tests.waiting import LONGEST_S, until

MARK = "OS_DEPLOY_AGENT_TEST"
AGENT = [sys.executable, "-m", "agent"]

# What Heat may send: the five types and null, and text that shells and quotes are afraid of.
AWKWARD: dict[str, Any] = {
    "text": 'it\'s "quoted" $HOME `id` \\ ünï ☃',
    "number": 1.5,
    "flag": True,
    "listed": ["80", "443"],
    "mapped": {"a": [1, None, "ü"]},
    "nothing": None,
}
TYPES = {"number": "Number", "flag": "Boolean", "listed": "CommaDelimitedList", "mapped": "Json"}


@dataclass
class Guest:
    """`root` is the guest's file system. Every process that it starts, and all they start, carry its mark."""

    root: Path
    environment: dict[str, str]
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    before: tuple[str, ...] = ()  # what starts the agent there

    @property
    def hours(self) -> Path:
        return self.root / "hours"

    @property
    def began(self) -> Path:
        """The file that a hanging config makes once it hangs."""
        return self.hours / "began"

    @property
    def hanging(self) -> str:
        """A shell command that hangs, with a child that leaves its session."""
        return f"setsid sleep 300 & touch {self.began}; sleep 300; : {self.mark}"

    def overdue(self, group: str, deployment: dict[str, Any]) -> dict[str, Any]:
        """The reply to a config that hangs: its minute is over as soon as it does."""
        limited = {**deployment, "options": {**deployment["options"], "timeout": 60}}
        return self.hook(group, limited, **hours.variables(self.hours))

    def hook(self, group: str, deployment: dict[str, Any], **variables: str) -> dict[str, Any]:
        """The reply of `agent hook GROUP`."""
        running = self.start(group, deployment, **variables)
        out, err = running.communicate(timeout=LONGEST_S)
        assert (0, b"") == (running.returncode, err)
        return json.loads(out)

    def start(self, group: str, deployment: dict[str, Any], **variables: str) -> subprocess.Popen[bytes]:
        self.hours.mkdir(exist_ok=True)
        self.hours.chmod(0o777)
        running = subprocess.Popen(
            [*self.before, *AGENT, "--root", str(self.root), "--kill-grace", "1", "hook", group],
            env={**self.environment, MARK: self.mark, **variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert running.stdin is not None
        running.stdin.write(json.dumps(deployment).encode())
        running.stdin.close()
        running.stdin = None
        return running

    def cancel(self, group: str, deployment: dict[str, Any]) -> int:
        """Start a config that hangs, end it by SIGTERM once it does; the status in the reply."""
        running = self.start(group, deployment)
        until(self.began.exists, "the tool to get as far as to hang")
        running.terminate()
        out, err = running.communicate(timeout=LONGEST_S)
        assert (0, b"") == (running.returncode, err)
        return json.loads(out)["deploy_status_code"]

    def once(self, *deployments: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        """`agent --once` with a local document: its exit status, and the outcomes by id."""
        documents = self.root / "var/lib/os-collect-config/local-data"
        documents.mkdir(mode=0o700, parents=True)
        (documents / "guest.json").write_text(json.dumps({"deployments": deployments}))
        ended = subprocess.run(
            [*self.before, *AGENT, "--once", "--root", str(self.root), "--collectors", "local"],
            env={**self.environment, MARK: self.mark},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LONGEST_S,
        )
        deployed = self.root / "var/lib/heat-config/deployed"
        found = {path.name.partition(".")[0]: json.loads(path.read_text()) for path in deployed.glob("*.notify.json")}
        assert len(deployments) == len(found), ended.stderr.decode()
        return ended.returncode, found

    def log(self, id: str) -> str:
        return (self.root / f"var/log/os-deploy-agent/{id}.log").read_text()

    def alive(self) -> list[str]:
        """The command lines of the living processes that carry the mark, by environment or argument."""
        found = []
        for process in Path("/proc").iterdir():
            with suppress(OSError):
                said = (process / "cmdline").read_bytes()
                if process.name != str(os.getpid()) and self.mark.encode() in said + (process / "environ").read_bytes():
                    found.append(f"{process.name} {said.decode(errors='replace')}")
        return found

    def leave(self) -> None:
        """Nothing may be left running; what is, is ended."""
        try:
            until(lambda: not self.alive(), lambda: f"these to be gone: {self.alive()}")
        finally:
            self.clean()

    def clean(self) -> None:
        """End what the mark finds."""
        for line in self.alive():
            with suppress(ProcessLookupError):
                os.kill(int(line.split()[0]), signal.SIGKILL)


def deployment(config: Any, **more: Any) -> dict[str, Any]:
    """A deployment as Heat sends it; `inputs` and `outputs` by name."""
    inputs, outputs = more.pop("inputs", {}), more.pop("outputs", ())
    return {
        "id": "0b1f6e5c-1d27-4c39-9f3d-5f0b9c6f2a11",
        "name": "guest",
        "creation_time": "2026-01-02T03:04:05Z",
        "config": config,
        "inputs": [{"name": name, "type": TYPES.get(name, "String"), "value": known} for name, known in inputs.items()],
        "outputs": [{"name": name, "type": "String"} for name in outputs],
        "options": {},
        **more,
    }
