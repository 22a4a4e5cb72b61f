"""A guest with an endpoint, as in tests/process, and the commands of an operator on it."""

import os
import signal
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.process.conftest import endpoint, guest
from tests.process.endpoint import Endpoint
from tests.process.guest import Ended, Guest
from tests.waiting import LONGEST_S, until

__all__ = ["ask", "endpoint", "guest"]

Ask = Callable[..., Ended]


@pytest.fixture
def ask(guest: Guest) -> Ask:
    """`ask("show", "web")`: a command of `agent` on this guest, without a terminal."""

    def command(*words: str, said: str = "", **variables: str) -> Ended:
        done = subprocess.run(
            [*guest.argv(*words[:1]), *words[1:]],
            env=guest.environment(**variables),
            cwd=guest.root,
            input=said,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    return command


@pytest.fixture
def killed(guest: Guest, endpoint: Endpoint) -> None:
    """The hook of `web` had begun when agent and runner were killed."""
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho begin >> $WITNESS\nsleep 600\n"))
    daemon = guest.start("run")
    until(guest.seen, "the hook to begin")
    daemon.kill()
    daemon.wait(LONGEST_S)
    [runner] = guest.runners()
    os.kill(runner, signal.SIGKILL)
    until(lambda: not guest.runners(), "the runner to be gone")


@pytest.fixture(autouse=True)
def as_root() -> Iterator[None]:
    """Guests of these tests belong to whoever runs them."""
    before = os.umask(0o022)
    yield
    os.umask(before)
