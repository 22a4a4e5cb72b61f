"""The container: podman or docker, our Containerfile and the wheelhouse. `environ` says which engine and where."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from shipping import wheels
from shipping.image import CannotBuild

FILES = Path(__file__).with_name("container")
BUILD_S = 1800


def build(
    tag: str, *, engine: str, environ: Mapping[str, str], arguments: Mapping[str, str], options: tuple[str, ...] = ()
) -> str:
    """Build the image and return its tag; `arguments` are the Containerfile's. Raises CannotBuild."""
    if not shutil.which(engine):
        raise CannotBuild(f"building a container: {engine} is not on PATH; install it, or name another with ENGINE=")
    with tempfile.TemporaryDirectory(prefix="os-deploy-agent-") as directory:
        context = Path(directory) / "context"
        shutil.copytree(FILES, context)
        shutil.copytree(wheels.wheelhouse(), context / "wheels")
        given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
        done = subprocess.run(
            [engine, "build", "--tag", tag, "--file", str(context / "Containerfile"), *given, *options, str(context)],
            env=dict(environ),
            stdout=sys.stderr,
            timeout=BUILD_S,
        )
    if done.returncode:
        raise CannotBuild(f"building a container: {engine} ended with {done.returncode}, see above")
    return tag
