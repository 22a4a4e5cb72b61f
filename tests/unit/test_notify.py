"""What the service manager hears of us, and what it never hears."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.systemd.notify import Notifier, notifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """Somebody who listens at NOTIFY_SOCKET."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        # an address of the kernel's choice is abstract
        channel.bind(str(tmp_path / "notify") if request.param == "path" else "")
        yield channel


def address(manager: socket.socket) -> str:
    name = manager.getsockname()
    return "@" + name[1:].decode() if isinstance(name, bytes) else str(name)


def heard(manager: socket.socket) -> list[str]:
    manager.setblocking(False)
    lines = []
    try:
        while True:
            lines.append(manager.recv(4096).decode())
    except BlockingIOError:
        return lines


def test_ready_comes_with_a_line_for_people(manager: socket.socket) -> None:
    notifier({"NOTIFY_SOCKET": address(manager)}).ready("watching cfn")

    assert ["READY=1", "STATUS=watching cfn"] == heard(manager)


def test_ready_is_said_once_for_a_start_and_once_for_each_reload(manager: socket.socket) -> None:
    made = notifier({"NOTIFY_SOCKET": address(manager)})

    made.ready("waiting")
    made.ready("waiting")
    made.reloading()
    made.ready("waiting")

    assert 2 == heard(manager).count("READY=1")


def test_a_status_is_sent_when_it_is_another_one(manager: socket.socket) -> None:
    made = notifier({"NOTIFY_SOCKET": address(manager)})

    for text in ("a", "a", "b", "a"):
        made.status(text)

    assert ["STATUS=a", "STATUS=b", "STATUS=a"] == heard(manager)


def test_a_reload_says_when_it_began(manager: socket.socket) -> None:
    notifier({"NOTIFY_SOCKET": address(manager)}).reloading()

    [said] = heard(manager)
    assert said.startswith("RELOADING=1\nMONOTONIC_USEC=")


@pytest.mark.parametrize(("pid", "expected"), [("", 2.0), ("ours", 2.0), ("1", 0.0)])
def test_the_watchdog_is_that_of_this_very_process(manager: socket.socket, pid: str, expected: float) -> None:
    environ = {
        "NOTIFY_SOCKET": address(manager),
        "WATCHDOG_USEC": "2000000",
        "WATCHDOG_PID": pid.replace("ours", str(os.getpid())),
    }

    made = notifier(environ)
    made.alive()

    assert expected == made.watchdog_s
    assert (["WATCHDOG=1"] if expected else []) == heard(manager)


def test_only_a_watchdog_wakes_the_loop() -> None:
    assert float("inf") == Notifier().longest_wait(float("inf"))
    assert 1.0 == Notifier("@x", watchdog_s=2.0).longest_wait(float("inf"))
    assert 0.5 == Notifier("@x", watchdog_s=2.0).longest_wait(0.5)


def test_a_step_that_may_take_long_asks_for_patience_once(manager: socket.socket) -> None:
    made = Notifier(address(manager), watchdog_s=120.0)

    for step_s in (30.0, 600.0, 600.0):
        made.allow(step_s)

    assert ["WATCHDOG_USEC=1200000000"] == heard(manager)
    assert 1200.0 == made.watchdog_s


def test_without_a_manager_nothing_happens() -> None:
    made = notifier({})

    for tell in (made.ready, made.status, made.stopping):
        tell("nobody hears this")
    made.alive()


def test_a_manager_that_is_gone_is_no_trouble(tmp_path: Path) -> None:
    notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("nobody hears this")
