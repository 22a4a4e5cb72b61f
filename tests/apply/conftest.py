"""The old names as links to this program, and a bare environment to call them in."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import install
from tests.waiting import LONGEST_S

Door = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("doors")
    install(directory, "os-apply-config", "os-config-applier", "os-refresh-config", "dib-run-parts")
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
            timeout=LONGEST_S,
            check=False,
        )

    return call


def script(path: Path, text: str) -> Path:
    """A program at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text if text.startswith("#!") else f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path
