"""The doors of cfn-init's family, in a mount namespace where /var is the test's own."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import install, need, require
from tests.waiting import LONGEST_S

need("unshare", "mount")
require(os.geteuid() == 0, "needs root for a mount namespace")

Door = Callable[..., "subprocess.CompletedProcess[str]"]
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
MEASURE = """import resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., list[str]]:
    """The command line that calls a door by its name there."""
    program = install(tmp_path)
    for name in ("lib/heat-cfntools", "cache", "log"):
        (tmp_path / name).mkdir(parents=True)
    binds = "".join(f"mount --bind {tmp_path / name} /var/{name} && " for name in ("lib", "cache", "log"))

    def line(name: str, *arguments: object, measured: bool = False) -> list[str]:
        link = tmp_path / name
        if not link.exists():
            link.symlink_to(program)
        words = [str(link), *map(str, arguments)]
        if measured:  # the peak of its memory, in KiB, goes into the file `peak`
            words = [sys.executable, "-c", MEASURE, str(tmp_path / "peak"), *words]
        return ["unshare", "-m", "/bin/sh", "-c", f"{binds}exec {shlex.join(words)}"]

    return line


@pytest.fixture
def door(command: Callable[..., list[str]]) -> Door:
    """Call a door to its end."""

    def call(name: str, *arguments: object, path: str = PATH, measured: bool = False) -> object:
        return subprocess.run(
            command(name, *arguments, measured=measured),
            env={"PATH": path, "HOME": "/root", "LC_ALL": "C"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

    return call  # type: ignore[return-value]


def document(path: Path, **config: object) -> Path:
    path.write_text(json.dumps({"AWS::CloudFormation::Init": {"config": config}}))
    return path
