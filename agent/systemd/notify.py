"""What the service manager is told of us: sd_notify(3), by datagrams. Where nobody listens, nothing happens."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

JOURNAL = "/run/systemd/journal/stdout"
JOURNAL_S = 5.0


@dataclass(slots=True)
class Notifier:
    """The socket of the manager, and how long it stays calm without hearing from us; 0 for ever.

    `alive` is to be called where something has got done, never by a clock alone: the silence of a loop that hangs is
    what makes the manager end it.
    """

    address: str = ""
    watchdog_s: float = 0.0
    _status: str = ""
    _ready: bool = False

    def ready(self, status: str) -> None:
        """The start, or a reload, is over."""
        if not self._ready:
            self._send("READY=1")
        self._ready = True
        self.status(status)

    def status(self, text: str) -> None:
        """One line for people, in `systemctl status`; sent when it is another one than before."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def reloading(self) -> None:
        self._ready = False
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def alive(self) -> None:
        if self.watchdog_s:
            self._send("WATCHDOG=1")

    def allow(self, step_s: float) -> None:
        """Ask for more patience where the settings allow a single step that takes half as long as the manager waits."""
        if 0 < self.watchdog_s < step_s * 2:
            self.watchdog_s = step_s * 2
            self._send(f"WATCHDOG_USEC={self.watchdog_s * 1e6:.0f}")

    def longest_wait(self, seconds: float) -> float:
        """How long the loop may sleep: half the manager's patience at most."""
        return min(seconds, self.watchdog_s / 2) if self.watchdog_s else seconds

    def _send(self, text: str) -> None:
        if not self.address:
            return
        import socket  # noqa: PLC0415 - loaded where there is somebody to talk to

        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.settimeout(1.0)  # a manager that is busy for longer misses a line, and no more
            channel.sendto(text.encode("utf-8", "replace"), name)


def journal_stream(identifier: str) -> int:
    """A descriptor whose lines go to the journal, with the fields of our own unit; -1 where there is no journal.

    For a unit whose streams are descriptors: systemd gives it no other (sd_journal_stream_fd(3) writes these words).
    """
    import socket  # noqa: PLC0415 - as above

    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        channel.settimeout(JOURNAL_S)
        channel.connect(JOURNAL)
        channel.sendall(f"{identifier}\n\n6\n0\n0\n0\n0\n".encode())
        channel.setblocking(True)
    except OSError:
        channel.close()
        return -1
    return channel.detach()


def notifier(environ: Mapping[str, str]) -> Notifier:
    """The manager that started this very process, as its environment tells."""
    address = environ.get("NOTIFY_SOCKET", "")
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", "")
    watched = bool(address) and usec.isdecimal() and pid in ("", str(os.getpid()))
    return Notifier(address, int(usec) / 1e6 if watched else 0.0)
