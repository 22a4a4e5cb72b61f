"""One engine per session, an empty one per test; nothing of it may be left running."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import require
from tests.containers import engine as engines
from tests.containers.engine import Engine
from tests.containers.install import missing
from tests.waiting import LONGEST_S, until


@pytest.fixture(scope="session")
def engine_directory() -> Iterator[Path]:
    require(os.geteuid() == 0, "an engine needs root")
    require(not missing(), f"needs {', '.join(missing())}: python -m tests.containers install")
    # Below /tmp: the paths of sockets are short.
    with engines.engine(Path(tempfile.mkdtemp(prefix="engine-"))) as directory:
        yield directory


@pytest.fixture(params=["podman", "docker"])
def engine(request: pytest.FixtureRequest, engine_directory: Path) -> Iterator[Engine]:
    """podman, or docker's command line in front of it."""
    yield from _made(request.param, engine_directory)


@pytest.fixture
def docker(engine_directory: Path) -> Iterator[Engine]:
    yield from _made("docker", engine_directory)


def _made(command: str, directory: Path) -> Iterator[Engine]:
    variables = {"HEAT_DOCKER_CMD": command, **engines.own_variables(directory)}
    if command == "docker":
        variables["DOCKER_HOST"] = f"unix://{directory}/podman.sock"
        variables["DOCKER_CONFIG"] = str(directory / "docker")
    yield Engine(command, directory, variables)
    engines.clear(directory)
    until(lambda: engines.processes(directory) == [], "the containers' keepers to be gone")


@dataclass(frozen=True)
class Guest:
    """The agent's command line in a guest whose engine is the given one."""

    agent: list[str]
    root: Path
    environment: dict[str, str] = field(repr=False)

    def hook(self, deployment: dict[str, Any]) -> dict[str, Any]:
        """The reply to one deployment."""
        done = subprocess.run(
            self.command("hook", deployment["group"]),
            env=self.environment,
            input=json.dumps(deployment).encode(),
            capture_output=True,
            timeout=LONGEST_S,
        )
        assert (0, b"") == (done.returncode, done.stderr)
        reply: dict[str, Any] = json.loads(done.stdout)
        return reply

    def begin(self, deployment: dict[str, Any]) -> subprocess.Popen[bytes]:
        """The same, not waited for."""
        given = self.root / "given.json"
        given.write_text(json.dumps(deployment))
        with given.open("rb") as file:
            return subprocess.Popen(
                self.command("hook", deployment["group"]),
                env=self.environment,
                stdin=file,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )

    def sync(self, group: str, *listed: dict[str, Any]) -> str:
        """What `agent sync` says while these are listed."""
        (self.root / "heat-config").write_text(json.dumps(listed))  # unless the guest's environment names another
        done = subprocess.run(
            self.command("sync", group), env=self.environment, capture_output=True, text=True, timeout=LONGEST_S
        )
        assert (0, "") == (done.returncode, done.stdout)
        return done.stderr

    def command(self, *words: str) -> list[str]:
        return [*self.agent, "--root", str(self.root), "--kill-grace", "2", *words]

    def with_variables(self, **variables: str) -> "Guest":
        return Guest(self.agent, self.root, {**self.environment, **variables})


@pytest.fixture
def guest(root: Path, agent_command: list[str], environment: dict[str, str]) -> Guest:
    """A guest without an engine of its own choice; `on` gives it one."""
    return Guest(agent_command, root, {**environment, "HEAT_SHELL_CONFIG": str(root / "heat-config")})


def on(guest: Guest, engine: Engine) -> Guest:
    return guest.with_variables(**engine.variables)


def deployment(group: str, config: Any, id: str = "c0ffee01", **more: Any) -> dict[str, Any]:
    """One deployment as Heat lists it."""
    inputs = {"deploy_stack_id": "stack/1", "deploy_resource_name": "web", **more.pop("inputs", {})}
    return {
        "id": id,
        "name": "project",
        "group": group,
        "config": config,
        "inputs": [{"name": name, "value": value} for name, value in inputs.items()],
        "outputs": [],
        "options": {},
        **more,
    }
