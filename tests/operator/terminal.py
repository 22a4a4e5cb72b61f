"""A command on a terminal of its own, and what it showed there."""

import os
import pty
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.waiting import LONGEST_S


def on_terminal(argv: Sequence[str], environment: Mapping[str, str], cwd: Path, *, stderr_too: bool = True) -> str:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as shown:
        child = subprocess.Popen(
            argv,
            env=environment,
            cwd=cwd,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs if stderr_too else subprocess.DEVNULL,
        )
        os.close(theirs)
        said = b""
        try:
            while chunk := shown.read(65536):
                said += chunk
        except OSError:  # EIO: the last one has closed it
            pass
        child.wait(LONGEST_S)
    return said.decode("utf-8", "replace")
