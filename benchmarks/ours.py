"""The agent of this checkout, below a directory, with the packages that an installed one has."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cost import Command
from benchmarks.environments import environment
from benchmarks.server import CHECKOUT


def python() -> str:
    """An interpreter with the run-time lock; the tools of developers change what the libraries import."""
    return str(environment("run") / "bin/python")


@dataclass(frozen=True)
class Ours:
    """The agent with one source: the URL, or without one the file that cloud-init leaves and what that names."""

    root: Path
    url: str = ""
    sources: str = "heat_local"

    @property
    def local_file(self) -> Path:
        return self.root / "var/lib/heat-cfntools/cfn-init-data"

    def once(self) -> Command:
        return self._command("--once")

    def daemon(self, shortest_s: float, longest_s: float) -> Command:
        pace = f"--polling-interval={longest_s}", f"--min-polling-interval={shortest_s}"
        return self._command("run", *pace)

    def state_files(self, key: str) -> tuple[Path, ...]:
        """What one deployment leaves in the journal, in the order of its durable writes (the record twice)."""
        record = self.root / f"var/lib/os-deploy-agent/journal/{key}.json"
        deployed = self.root / "var/lib/heat-config/deployed"
        return record, deployed / f"{key}.json", deployed / f"{key}.notify.json", record

    def _command(self, *arguments: str) -> Command:
        source = f"--request-metadata-url={self.url}" if self.url else f"--collectors={self.sources}"
        argv = (python(), "-m", "agent", *arguments, f"--root={self.root}", source)
        env = {"PATH": os.defpath, "PYTHONPATH": str(CHECKOUT), "LANG": "C.UTF-8", "HOME": str(self.root)}
        return Command(argv, env, self.root / "log")
