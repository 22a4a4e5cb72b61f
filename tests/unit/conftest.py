"""Unit tests are plain calls: no network, no second process. Whoever tries is told, and cannot swallow it."""

import socket
import sys
import threading
from collections.abc import Iterator

import pytest

PROCESS_EVENTS = {
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
    "subprocess.Popen",
}
NAME_EVENTS = {"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr", "socket.getnameinfo"}

watched = 0
"""The thread that runs a unit test; servers of other tests may be ending in theirs."""


def forbid(event: str, arguments: tuple[object, ...]) -> None:
    """Stand as an audit hook (PEP 578): it sees every road to the kernel, and cannot be taken off again."""
    if not watched or watched != threading.get_ident():
        return
    if event in PROCESS_EVENTS:
        pytest.fail(f"a unit test starts no process, but this one did: {event}{arguments[:2]}", pytrace=False)
    if event in NAME_EVENTS or (event == "socket.__new__" and arguments[1] not in {socket.AF_UNIX, -1}):
        pytest.fail(f"a unit test opens no network socket, but this one did: {event}{arguments[1:]}", pytrace=False)


sys.addaudithook(forbid)


@pytest.fixture(autouse=True)
def plain_calls() -> Iterator[None]:
    global watched  # noqa: PLW0603  an audit hook stays for good: only a switch ends its watch
    watched = threading.get_ident()
    yield
    watched = 0
