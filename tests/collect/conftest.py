"""Peers on loopback, the client that talks to them, and the door as people call it."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.collect.queue import Queue
from tests.peers import client, peer
from tests.waiting import LONGEST_S, until

__all__ = ["client", "peer"]


@pytest.fixture
def queue() -> Iterator[Queue]:
    made = Queue()
    yield made
    made.close()


@dataclass(frozen=True)
class Door:
    """`os-collect-config` in a directory of its own; each command appends the paths it was given to `ran`."""

    directory: Path
    environment: dict[str, str]
    program: Path

    @property
    def cache(self) -> Path:
        return self.directory / "cache"

    @property
    def local(self) -> Path:
        return self.directory / "local"

    @property
    def command(self) -> str:
        return f"echo $OS_CONFIG_FILES >> {self.directory}/ran"

    def put(self, name: str, content: object) -> None:
        """A local file."""
        self.local.mkdir(mode=0o700, exist_ok=True)
        self.write(self.local / name, json.dumps(content))

    def write(self, path: Path, text: str) -> None:
        """A file that changes at once: the daemon may read it at any moment."""
        temporary = self.directory / "put"
        temporary.write_text(text)
        temporary.rename(path)

    def argv(self, *arguments: str) -> list[str]:
        own = ["--cachedir", f"{self.cache}", "--backup-cachedir", f"{self.directory}/backup"]
        return [str(self.program), *own, "--local-path", f"{self.local}", *arguments]

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(*arguments),
            env={**self.environment, **variables},
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

    def once(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(*arguments, "--one-time", "-c", self.command)

    @contextmanager
    def daemon(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        quick = ("--min-polling-interval", "0.1", "--polling-interval", "0.3")
        with (self.directory / "said").open("ab") as said:
            daemon = subprocess.Popen(
                self.argv(*quick, *arguments),
                env=self.environment,
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
            )
        try:
            yield daemon
        finally:
            daemon.terminate()
            daemon.wait(LONGEST_S)

    def ran(self) -> list[list[str]]:
        """Of each command the files it was given, without their directory."""
        path = self.directory / "ran"
        lines = path.read_text().splitlines() if path.exists() else []
        return [[Path(name).name for name in line.split(":") if name] for line in lines]

    def wait_ran(self, times: int) -> None:
        self.wait(lambda: len(self.ran()) >= times, f"{times} commands")

    def wait(self, look: Callable[[], object], what: str) -> None:
        until(look, lambda: f"{what}; it said {(self.directory / 'said').read_text()}")

    def cached(self, name: str) -> object:
        return json.loads((self.cache / name).read_text())


@pytest.fixture
def door(tmp_path: Path, environment: dict[str, str]) -> Door:
    program = tmp_path / "os-collect-config"
    program.write_text(f"#!{sys.executable}\nfrom agent.cli.main import entry\nentry()\n")
    program.chmod(0o755)
    (tmp_path / "guest").mkdir()
    return Door(tmp_path / "guest", {**environment, "HOME": str(tmp_path / "guest"), "LC_ALL": "C"}, program)
