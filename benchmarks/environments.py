"""Virtual environments in the cache directory, each made once from a lock of `.ci/locks`."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from benchmarks.server import CHECKOUT


@functools.cache
def environment(lock: str) -> Path:
    """The environment of a lock, made on first use."""
    maker = [sys.executable, str(CHECKOUT / ".ci/environment"), str(CHECKOUT / ".ci/locks" / f"{lock}.txt")]
    made = subprocess.run(maker, check=True, stdout=subprocess.PIPE, text=True)
    return Path(made.stdout.strip())
