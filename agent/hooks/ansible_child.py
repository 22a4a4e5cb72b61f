"""The process that imports ansible-runner: it runs one ansible-playbook and reports its tasks as they end.

    PYTHON -I ansible_child.py DIRECTORY PROGRAM ARGUMENT...

The ansible hook starts it with whatever Python has ansible-runner (3.9 or newer), so it stands alone: the agent is not
importable here. ansible-runner's display callback reports the events and its Runner reads them. The program itself is
started here, because Runner.run mixes stdout and stderr in one terminal, sees an end only every 5 s, leaves the tasks
behind when it is ended (ansible-runner #973), and writes the environment to disk.
"""

from __future__ import annotations

import base64
import json
import os
import re
import selectors
import signal
import sys
import time
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

if TYPE_CHECKING:  # an old Python only gets as far as main
    from collections.abc import Callable

    Take = Callable[[dict[str, Any]], Any]

CHUNK = 1 << 16
PROGRESS_MARK = b"\x1e"
EVENT = re.compile(rb"\x1b\[K((?:[A-Za-z0-9+/=]+\x1b\[\d+D)+)\x1b\[K")
EVENT_LONGEST = 4096
UUID = re.compile(r"[0-9A-Za-z-]{1,64}")
ENDS = {"runner_on_ok": "ok", "runner_on_failed": "failed", "runner_on_skipped": "skipped"}
ENDS["runner_on_unreachable"] = "unreachable"
IDENT = "run"
DRAIN_S = 0.2  # how long a pipe that somebody else still writes to is read after the program's end


class Program(NamedTuple):
    """A started program and the pipes of its streams."""

    pid: int
    out: int
    err: int


class Report:
    """What the events told so far: the tasks by number, and the stats."""

    def __init__(self, out: BinaryIO) -> None:
        self.stats: dict[str, Any] = {}
        self._tasks: dict[str, int] = {}
        self._out = out

    def take(self, event: dict[str, Any]) -> bool:
        """One event; False, because ansible-runner need not store it."""
        data = event.get("event_data") or {}
        kind = event.get("event", "")
        if kind in ("playbook_on_task_start", "playbook_on_handler_task_start"):
            self._tasks.setdefault(data.get("task_uuid", ""), len(self._tasks) + 1)
        elif kind == "playbook_on_stats":
            self.stats = data.get("artifact_data") or {}
        elif kind in ENDS:
            self._progress(data, ENDS[kind])
        return False

    def _progress(self, data: dict[str, Any], end: str) -> None:
        result = data.get("res")
        if end == "ok" and isinstance(result, dict) and result.get("changed"):
            end = "changed"
        if end == "failed" and data.get("ignore_errors"):
            end = "failed, ignored"
        number = self._tasks.get(data.get("task_uuid", ""), len(self._tasks))
        line = "-- task {}, {}, {}: {}".format(number, data.get("host", "?"), end, data.get("task", "?"))
        self._out.write(PROGRESS_MARK + " ".join(line.splitlines()).encode("utf-8", "replace") + b"\n")


class Stream:
    """One stream of the program: text goes on unchanged, and the events in it to ansible-runner."""

    def __init__(self, out: BinaryIO, take: Take) -> None:
        self._out = out
        self._take = take
        self._held = b""

    def feed(self, chunk: bytes) -> None:
        data = self._held + chunk
        while True:
            found = EVENT.search(data)
            if not found:
                break
            self._text(data[: found.start()])
            self._event(re.sub(rb"\x1b\[\d+D", b"", found.group(1)))
            data = data[found.end() :]
        split = _unfinished(data)
        self._text(data[:split])
        self._held = data[split:]
        self._out.flush()

    def end(self) -> None:
        self._text(self._held)
        self._out.flush()

    def _text(self, data: bytes) -> None:
        self._out.write(data.replace(PROGRESS_MARK, b""))

    def _event(self, encoded: bytes) -> None:
        try:
            event = json.loads(base64.b64decode(encoded))
        except ValueError:
            return
        if isinstance(event, dict) and UUID.fullmatch(str(event.get("uuid"))):  # it names a file
            self._take({**event, "counter": 0})


def _unfinished(data: bytes) -> int:
    """Where the beginning of an event at the end of `data` starts; its length when there is none."""
    start = data.find(b"\x1b[K")
    if start < 0:
        start = len(data) - (2 if data.endswith(b"\x1b[") else 1 if data.endswith(b"\x1b") else 0)
    return start if len(data) - start < EVENT_LONGEST else len(data)


def main(directory: str, argv: list[str]) -> int:
    found = find_spec("ansible_runner")
    if not (found and found.submodule_search_locations and hasattr(os, "pidfd_open")):
        os.execve(argv[0], argv, os.environ)  # noqa: S606 - the playbook, without events
    artifacts = os.path.join(directory, "artifacts", IDENT)  # noqa: PTH118 - ansible-runner speaks text
    os.makedirs(artifacts, 0o700)  # noqa: PTH103
    program = start(argv, environment(found.submodule_search_locations[0], artifacts))
    report = Report(sys.stdout.buffer)
    take = reader(directory, report)
    status = follow(program, Stream(sys.stdout.buffer, take), Stream(sys.stderr.buffer, take))
    if report.stats:
        path = os.path.join(directory, "stats.json")  # noqa: PTH118
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(report.stats, file)
    return status


def environment(package: str, artifacts: str) -> dict[str, str]:
    """What RunnerConfig.prepare sets so that ansible reports events, without waiting for its import.

    It also switches the check of host keys off, which is not ours to do.
    """
    plugins = [os.environ.get("ANSIBLE_CALLBACK_PLUGINS", ""), f"{package}/display_callback/callback"]
    shown = os.environ.get("ANSIBLE_STDOUT_CALLBACK")
    return {
        **os.environ,
        **({"ORIGINAL_STDOUT_CALLBACK": shown} if shown else {}),
        "ANSIBLE_CALLBACK_PLUGINS": ":".join(filter(None, plugins)),
        "ANSIBLE_STDOUT_CALLBACK": "awx_display",
        "AWX_ISOLATED_DATA_DIR": artifacts,
    }


def reader(directory: str, report: Report) -> Take:
    """ansible-runner's reader of events. Its import takes 60 ms, in which ansible is still starting."""
    try:
        from ansible_runner.config.runner import RunnerConfig  # noqa: PLC0415
        from ansible_runner.runner import Runner  # noqa: PLC0415
    except ImportError:  # half installed
        return lambda _event: None
    config = RunnerConfig(private_data_dir=directory, ident=IDENT)
    take: Take = Runner(config=config, event_handler=report.take).event_callback
    return take


def start(argv: list[str], variables: dict[str, str]) -> Program:
    out, err = os.pipe(), os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, out[1], 1), (os.POSIX_SPAWN_DUP2, err[1], 2)]
    pid = os.posix_spawn(argv[0], argv, variables, file_actions=actions, setsigdef=[signal.SIGPIPE])
    for writer in (out[1], err[1]):
        os.close(writer)
    return Program(pid, out[0], err[0])


def follow(program: Program, out: Stream, err: Stream) -> int:
    """Read the program's streams to its end, whoever else may still hold them; its status as a shell would tell it."""
    streams = {program.out: out, program.err: err}
    with selectors.DefaultSelector() as selector:
        for pipe in streams:
            os.set_blocking(pipe, False)
            selector.register(pipe, selectors.EVENT_READ)
        ended = os.pidfd_open(program.pid)
        selector.register(ended, selectors.EVENT_READ)
        running = True
        while running:
            for key, _ in selector.select():
                if key.fd == ended:
                    running = False
                elif not pump(key.fd, streams[key.fd]):
                    selector.unregister(key.fd)
    deadline = time.monotonic() + DRAIN_S
    for pipe, stream in streams.items():
        while pump(pipe, stream) and time.monotonic() < deadline:
            pass
        stream.end()
    status = os.waitstatus_to_exitcode(os.waitpid(program.pid, 0)[1])
    return status if status >= 0 else 128 - status


def pump(fd: int, stream: Stream) -> bool:
    """Take one chunk; False when there is none."""
    try:
        chunk = os.read(fd, CHUNK)
    except BlockingIOError:
        return False
    if chunk:
        stream.feed(chunk)
    return bool(chunk)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2:]))
    except OSError as exc:
        sys.stderr.write(f"{sys.argv[2]} could not be run: {exc.strerror} ({exc.filename})\n")
        sys.exit(126 if isinstance(exc, PermissionError) else 127)
