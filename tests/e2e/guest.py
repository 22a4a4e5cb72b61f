"""The guest's side: a root directory with the bootstrap in it, and the agent run from the checkout."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.cloud import eventually
from tests.waiting import LONGEST_S

CHECKOUT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Guest:
    """One server as its agent sees it."""

    root: Path

    @property
    def runs(self) -> Path:
        """The file to which the scripts of the templates append a line per run."""
        return self.root / "runs"

    def wait_ran(self, line: str) -> None:
        """Return when a script has noted this run."""
        eventually(lambda: line in self.ran(), f"the run {line!r}")

    def ran(self) -> list[str]:
        """What ran, in order."""
        return self.runs.read_text().splitlines() if self.runs.exists() else []

    def boot(self, section: Mapping[str, Any]) -> None:
        """Leave the server's bootstrap where cloud-init leaves it."""
        data = self.root / "var/lib/heat-cfntools/cfn-init-data"
        data.parent.mkdir(parents=True, exist_ok=True)
        half = self.root / "half-a-bootstrap"  # an agent may be looking
        half.write_text(json.dumps({"os-collect-config": section}))
        half.rename(data)

    def configure(self, **settings: object) -> None:
        """Write the agent's settings; `cfn__polling_interval` means polling_interval in section cfn."""
        sections: dict[str, list[str]] = {"DEFAULT": []}
        for name, value in settings.items():
            section, _, key = name.rpartition("__")
            sections.setdefault(section or "DEFAULT", []).append(f"{key} = {value}")
        path = self.root / "etc/os-deploy-agent/agent.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"[{name}]\n" + "\n".join(lines) + "\n" for name, lines in sections.items()))

    def once(self) -> subprocess.CompletedProcess[str]:
        """One cycle: collect, run what is due, signal."""
        done = subprocess.run(
            [sys.executable, "-m", "agent", "--root", str(self.root), "--once"],
            env=environment(),
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
        print(done.stderr, file=sys.stderr)  # pytest shows it when the test fails
        return done

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """The agent as it runs for good, ended by SIGTERM; what it said is in ROOT/agent.log."""
        with (self.root / "agent.log").open("ab") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "agent", "run", "--root", str(self.root)],
                env=environment(),
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            yield daemon
            ended = daemon.poll()
            assert ended in {None, -signal.SIGKILL}, f"the agent ended by itself ({ended})\n{self.log()}"
        finally:
            stop(daemon)

    def wait_begun(self) -> None:
        """Return when the daemon is there: it has its state to itself."""
        eventually((self.root / "var/lib/os-deploy-agent/lock").exists, "the agent to begin")

    def wait_logged(self, text: str) -> None:
        """Return when the daemon has mentioned this."""
        eventually(lambda: text in self.log(), f"the agent to mention {text}")

    def log(self) -> str:
        return (self.root / "agent.log").read_text(errors="replace")

    # ---- what the agent remembers

    def outcome(self, identity: str) -> dict[str, Any]:
        """What the hook of this deployment left behind, as the old tools knew it."""
        path = self.root / f"var/lib/heat-config/deployed/{identity}.notify.json"
        outcome: dict[str, Any] = json.loads(path.read_text())
        return outcome

    def journal(self, identity: str) -> dict[str, Any]:
        entry: dict[str, Any] = json.loads(self._entry(identity).read_text())
        return entry

    def known(self) -> int:
        """How many deployments the agent has ever taken up."""
        return len(list(self._entry("*").parent.glob("*.json")))

    def forget_acknowledgement(self, identity: str) -> None:
        """Put the entry back to where a kill -9 leaves it between Heat's answer and the note of it."""
        entry = self.journal(identity)
        assert entry["state"] == "signalled"
        self._entry(identity).write_text(json.dumps({**entry, "state": "received"}))

    def _entry(self, identity: str) -> Path:
        return self.root / f"var/lib/os-deploy-agent/journal/{identity}.json"


def environment() -> dict[str, str]:
    """All that the agent may know of its surroundings: no proxies, no settings of the user's."""
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT), "LANG": "C.UTF-8"}


def stop(daemon: subprocess.Popen[bytes]) -> None:
    """End the agent; it must not need more than a SIGTERM."""
    daemon.send_signal(signal.SIGTERM)
    try:
        daemon.wait(LONGEST_S)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait(LONGEST_S)
        raise AssertionError(f"the agent did not end within {LONGEST_S:.0f} s of SIGTERM") from None
