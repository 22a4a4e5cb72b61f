"""Time limits that are over when a test wants it: an hour passes for our own processes with each file that appears.

A limit of a second is over before a hook has begun where the machine is slow enough. With this one a hook has all the
time it needs to come as far as it should, makes its file, and waits to be ended.
"""

from pathlib import Path

from tests.conftest import CHECKOUT

HERE = Path(__file__).parent


def variables(directory: Path) -> dict[str, str]:
    """The environment of a process whose hours are the files of `directory`, which anybody may make."""
    directory.mkdir(exist_ok=True)
    directory.chmod(0o777)
    return {"HOURS": str(directory), "PYTHONPATH": f"{HERE}:{CHECKOUT}"}
