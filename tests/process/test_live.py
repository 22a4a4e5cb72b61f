"""What can be followed while a hook runs: a file, and systemd's journal where there is one."""

from __future__ import annotations

import os
import select
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.live import JOURNALD, JOURNALD_LIMIT, LINE_LIMIT
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest
from tests.waiting import until


class Listener:
    """The journal's socket: it takes entries apart as journald does."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.setblocking(False)
        self.entries: list[dict[str, str]] = []

    def read(self) -> list[dict[str, str]]:
        """All entries so far."""
        while True:
            try:
                self.entries.append(entry(self.socket.recv(1 << 18)))
            except BlockingIOError:
                return self.entries

    def messages(self) -> list[str]:
        return [known["MESSAGE"] for known in self.read()]

    @contextmanager
    def attentive(self) -> Iterator[None]:
        """Take every entry as soon as it comes."""
        over = threading.Event()

        def attend() -> None:
            while not over.is_set():
                select.select([self.socket], [], [], 0.1)
                self.read()

        attending = threading.Thread(target=attend)
        attending.start()
        try:
            yield
        finally:
            over.set()
            attending.join()


def entry(data: bytes) -> dict[str, str]:
    """https://systemd.io/JOURNAL_NATIVE_PROTOCOL/"""
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        name, assigned, value = line.partition(b"=")
        if not assigned:
            size = int.from_bytes(data[:8], "little")
            value, data = data[8 : 8 + size], data[8 + size + 1 :]
        fields[name.decode()] = value.decode()
    return fields


@pytest.fixture
def guest(endpoint: Endpoint) -> Iterator[Guest]:
    """A guest whose root is short, as the path of a socket must be."""
    made = Guest(Path(tempfile.mkdtemp(prefix="g")), endpoint)
    yield made
    made.end()
    shutil.rmtree(made.root)


@pytest.fixture
def journal(guest: Guest) -> Iterator[Listener]:
    listener = Listener(guest.root / JOURNALD.lstrip("/"))
    yield listener
    listener.socket.close()


def log(guest: Guest) -> Path:
    return guest.root / "var/log/os-deploy-agent/id-web.log"


def test_lines_are_in_file_and_journal_while_the_hook_runs(guest: Guest, endpoint: Endpoint, journal: Listener) -> None:
    go = guest.root / "go"
    script = f"#!/bin/sh\necho first\necho second >&2\nuntil [ -e {go} ]; do sleep 0.05; done\nprintf last\n"
    endpoint.serve({**endpoint.script("web", script), "name": "a\nname"})
    guest.start("--once")

    until(lambda: len(journal.read()) == 2, "two entries")
    said = log(guest).read_text()
    go.touch()
    until(lambda: endpoint.signals, "the outcome")

    assert ["first", "second"] == said.splitlines()
    assert ["first", "second", "last"] == journal.messages()
    first = journal.entries[0]
    assert ("id-web", "a\nname", "script", "6", "os-deploy-agent") == tuple(
        first[name]
        for name in ("DEPLOYMENT_ID", "DEPLOYMENT_NAME", "DEPLOYMENT_GROUP", "PRIORITY", "SYSLOG_IDENTIFIER")
    )


def test_the_journal_gets_a_bounded_part_and_the_end(guest: Guest, endpoint: Endpoint, journal: Listener) -> None:
    go, size = guest.root / "go", 20_000_000
    printing = f"echo begin\nyes xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx | head -c {size}\n"
    script = f"#!/bin/sh\n{printing}until [ -e {go} ]; do sleep 0.05; done\necho end\n"
    endpoint.serve(endpoint.script("web", script))
    guest.start("--once")
    until(lambda: log(guest).exists() and log(guest).stat().st_size > size // 2, "much to be printed, and not read")

    with journal.attentive():
        go.touch()
        until(lambda: endpoint.signals and not guest.runners(), "the end")

    messages = journal.messages()
    assert "begin" == messages[0]
    assert sum(len(message) + 1 for message in messages) < JOURNALD_LIMIT + (1 << 17)
    assert messages[-1].startswith("[... the journal did not take ")


def test_a_line_without_end_comes_in_pieces(guest: Guest, endpoint: Endpoint, journal: Listener) -> None:
    size = 3 * LINE_LIMIT + 5
    endpoint.serve(endpoint.script("web", f"#!/bin/sh\nhead -c {size} /dev/zero | tr '\\0' x\n"))
    guest.start("--once")

    until(lambda: journal.read() and endpoint.signals, "the outcome")

    assert [LINE_LIMIT] * 3 + [5] == [len(message) for message in journal.messages()]


def test_a_journal_that_takes_nothing_holds_nobody_up(guest: Guest, endpoint: Endpoint, journal: Listener) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\nyes | head -n 100000\n"))

    ended = guest.once()  # nobody reads meanwhile

    assert (0, 200_000) == (ended.status, len(endpoint.signals[0].body["deploy_stdout"]))
    assert 200_000 == log(guest).stat().st_size


@pytest.mark.parametrize("kind", ["nobody listens", "a file"])
def test_without_a_journal_the_file_is_there_all_the_same(guest: Guest, endpoint: Endpoint, kind: str) -> None:
    path = guest.root / JOURNALD.lstrip("/")
    if kind == "a file":
        path.parent.mkdir(parents=True)
        path.touch()
    else:
        Listener(path).socket.close()
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho hello\n"))

    assert 0 == guest.once().status
    assert "hello\n" == log(guest).read_text()
    assert 0o600 == log(guest).stat().st_mode & 0o777
    assert os.geteuid() == log(guest).stat().st_uid
