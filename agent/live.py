"""What a deployment prints, as it comes, for people: in a file, and in systemd's journal where there is one.

Both are bounded. Neither ever stops a hook, or slows it down: what cannot be written is lost here, not in the outcome.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from agent import masking
from agent.masking import Veil
from agent.process import Kept

if TYPE_CHECKING:
    import socket

JOURNALD = "/run/systemd/journal/socket"
IDENTIFIER = "os-deploy-agent"
JOURNALD_LIMIT = 1 << 20  # of one deployment: what follows would be cut by journald's own limit of messages
LINE_LIMIT = 16 << 10
TAIL = 1 << 16
LAST_WORD_S = 2.0  # for the one entry that says how many are missing
REACHED = b"\n[... the limit of this log was reached, what follows is the end ...]\n"


class LiveLog:
    """A file of at most `limit` bytes, of which the last 64 KiB are the end; and the journal, when one is given.

    The process's own standard `streams` go to the file, too. Of what is written the `secrets` are masked, and
    what looks like one.
    """

    def __init__(
        self,
        path: Path,
        limit: int,
        journald: Journald | None = None,
        *,
        streams: tuple[int, ...] = (1, 2),
        secrets: Iterable[str] = (),
    ) -> None:
        self._veil = Veil(secrets)
        self._left = limit
        self._tail = Kept(TAIL)
        self._journald = journald
        self._fd = -1
        with suppress(OSError):
            self._fd = _opened(path)
            for standard in streams:
                os.dup2(self._fd, standard)

    def write(self, chunk: bytes) -> None:
        self._write(masking.looks(self._veil(chunk)))

    def _write(self, chunk: bytes) -> None:
        now, later = chunk[: self._left], chunk[self._left :]
        self._left -= len(now)
        if later:
            self._tail.add(later)
        self._put(now)
        if self._journald:
            self._journald.write(chunk)

    def end(self) -> None:
        self._write(masking.looks(self._veil.rest()))
        if self._tail.total:
            self._put(REACHED)
            self._put(self._tail.bytes())
        if self._journald:
            self._journald.end()

    def _put(self, data: bytes) -> None:
        if self._fd >= 0 and data:
            with suppress(OSError):  # a full disk costs the log, not the deployment
                os.write(self._fd, data)


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:  # the first one
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(path, flags, 0o600)


class Journald:
    """systemd's journal: an entry for each line that is not empty, each with the same `fields`.

    In its native protocol, https://systemd.io/JOURNAL_NATIVE_PROTOCOL/.
    """

    def __init__(self, connected: socket.socket, fields: Mapping[str, str]) -> None:
        self._socket = connected
        self._fields = b"".join(field(name, value.encode("utf-8", "replace")) for name, value in fields.items())
        self._left = JOURNALD_LIMIT
        self._tail = Kept(TAIL)
        self._line = b""
        self._lost = 0

    def write(self, chunk: bytes) -> None:
        now, later = chunk[: self._left], chunk[self._left :]
        self._left -= len(now)
        if later:
            self._tail.add(later)
        self._lines(now)

    def end(self) -> None:
        if self._tail.total:
            self._lines(REACHED)
            self._lines(self._tail.bytes())
        self._lines(b"\n")
        if self._lost:
            self._socket.settimeout(LAST_WORD_S)
            self._entry(b"[... the journal did not take %d lines, see the live log ...]" % self._lost)

    def _lines(self, data: bytes) -> None:
        *lines, self._line = (self._line + data).split(b"\n")
        for line in lines:
            for start in range(0, len(line), LINE_LIMIT):
                self._entry(line[start : start + LINE_LIMIT])
        while len(self._line) > LINE_LIMIT:
            self._entry(self._line[:LINE_LIMIT])
            self._line = self._line[LINE_LIMIT:]

    def _entry(self, line: bytes) -> None:
        if not line:
            return
        try:
            self._socket.send(self._fields + field("MESSAGE", line))
        except OSError:  # it is full, or gone: nobody waits for it
            self._lost += 1


def journald(path: Path, fields: Mapping[str, str]) -> Journald | None:
    """The journal that listens at `path`, None where there is none."""
    if not os.access(path, os.W_OK):
        return None
    import socket  # noqa: PLC0415 - loaded by the agent where it speaks HTTP, and not needed where there is no journal

    connected = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        connected.connect(str(path))
    except OSError:  # nobody listens, or the path is too long for a socket
        connected.close()
        return None
    return Journald(connected, {"PRIORITY": "6", "SYSLOG_IDENTIFIER": IDENTIFIER, **fields})


def field(name: str, value: bytes) -> bytes:
    """One field of an entry; a value with a line break has its length before it."""
    if b"\n" in value:
        return name.encode() + b"\n" + len(value).to_bytes(8, "little") + value + b"\n"
    return name.encode() + b"=" + value + b"\n"
