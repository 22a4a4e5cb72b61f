"""A guest with an endpoint, as in tests/process, and the commands of an operator on it."""

import os
import subprocess
from collections.abc import Callable

import pytest

from tests.process.conftest import endpoint, guest
from tests.process.guest import Ended, Guest

__all__ = ["ask", "endpoint", "guest"]

Ask = Callable[..., Ended]


@pytest.fixture
def ask(guest: Guest) -> Ask:
    """`ask("show", "web")`: a command of `agent` on this guest, without a terminal."""

    def command(*words: str, said: str = "", timeout_s: float = 30.0, **variables: str) -> Ended:
        done = subprocess.run(
            [*guest.argv(*words[:1]), *words[1:]],
            env=guest.environment(**variables),
            cwd=guest.root,
            input=said,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return command


@pytest.fixture(autouse=True)
def as_root() -> None:
    """Guests of these tests belong to whoever runs them."""
    os.umask(0o022)
