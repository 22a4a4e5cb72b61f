"""The old names as links to this program, and a bare environment to call them in."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

Door = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("doors")
    program = directory / "agent"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n"
        "from agent.cli.main import entry\nentry()\n"
    )
    program.chmod(0o755)
    for name in ("os-apply-config", "os-config-applier", "os-refresh-config", "dib-run-parts"):
        (directory / name).symlink_to(program)
    return directory


@pytest.fixture
def door(doors: Path, tmp_path: Path) -> Door:
    """Call a door by name, in `tmp_path`, with an empty PATH unless one is given."""

    def call(name: str, *arguments: object, said: str = "", **variables: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [doors / name, *map(str, arguments)],
            input=said,
            env={"PATH": "", "LC_ALL": "C", **{key: str(value) for key, value in variables.items()}},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


def script(path: Path, text: str) -> Path:
    """A program at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
