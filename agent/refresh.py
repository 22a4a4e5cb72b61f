"""The phases as part of the cycle, seen from the agent: when they are run, and whom they let through.

A change of the metadata runs them, as os-collect-config did with its command: pre-configure, then configure with the
templates at 20 and the deployments at 55, post-configure, migration. A process of its own does so (`refresher.py`). It
stops at 55 and says so; the agent dispatches and lets it go on. Agent and process talk by two pipes, so that each
learns of the other's end. What outlives both is the digest of the metadata that the phases last succeeded for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent import jsontext, layout, log, state, tree
from agent.errors import MetadataError, StateError
from agent.model import Document, JsonMap
from agent.plan import NO_PHASES, Phases, phases_due
from agent.settings import Settings
from agent.state import Places

RECORD = "phases.json"
SLOWEST = 10.0  # times polling_interval: the longest pause before phases that fail are run again


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run of the phases is for: the metadata at hand, its digest, and the deployments that it lists."""

    settings: Settings
    documents: tuple[Document, ...]
    digest: str
    keys: frozenset[str]


@dataclass(frozen=True, slots=True)
class Running:
    """The process, seen from the agent. `hears` becomes readable when it has something to say, `pidfd` at its end."""

    wanted: Wanted
    began_at: float
    pid: int
    pidfd: int
    hears: int
    tells: int
    waiting: bool = False
    said: str = ""

    def close(self) -> None:
        for fd in (self.pidfd, self.hears, self.tells):
            os.close(fd)


class Refresh:
    """The agent's memory of the phases between two cycles. `stays`: somebody will be there to try again."""

    def __init__(self, places: Places, clock: Callable[[], float], *, stays: bool) -> None:
        self.phases = NO_PHASES
        self._record = places.state / RECORD
        self._running: Running | None = None
        self._wanted: Wanted | None = None
        self._failures = 0
        self._busy_since = 0.0
        self._clock = clock
        self._stays = stays

    def look(self, settings: Settings, documents: tuple[Document, ...], keys: Iterable[str]) -> None:
        """Take in the newest metadata, whether this guest has phases, and what an operator did to the record."""
        if not self._running and not present(settings, os.environ):
            self.phases = NO_PHASES
            return
        self.phases = standing(settings, documents, self._read(), self.phases)
        self.phases = replace(self.phases, failing_since=self._busy_since or self.phases.failing_since)
        self._wanted = Wanted(settings, documents, self.phases.wanted, frozenset(keys))

    @property
    def waiting(self) -> bool:
        """Whether a run stands at 55 and lets deployments through."""
        return self._running is not None and self._running.waiting

    @property
    def working(self) -> bool:
        """Whether scripts of a run may be under way."""
        return self._running is not None and not self._running.waiting

    def descriptors(self) -> tuple[int, ...]:
        """One of these becomes readable when `hear` is to be called."""
        return (self._running.pidfd, self._running.hears) if self._running else ()

    def next_due(self) -> float:
        """When phases that failed are to be run again; infinity when there is nothing to wait for."""
        phases = self.phases
        waits = self._stays and not phases.running and not phases.settled and phases.failed == phases.wanted
        return phases.retry_at if waits else float("inf")

    def start_if_due(self) -> None:
        """Begin a run when one is due. Raises StateError when there is no room for a process."""
        if self._wanted is None or not phases_due(self.phases, self._clock()):
            return
        self._running = _start(self._wanted, self._record, self._clock())
        self.phases = replace(self.phases, running=True, admitted=frozenset())
        log.info("phases started", pid=self._running.pid)

    def go_on(self) -> None:
        """No deployment is left that the run would let through."""
        assert self._running is not None
        self._running = replace(self._running, waiting=False)
        self.phases = replace(self.phases, admitted=frozenset())
        with suppress(BrokenPipeError):  # it ended meanwhile, which `hear` will notice
            os.write(self._running.tells, b"\n")

    def hear(self) -> bool:
        """Take what the process said or, at its end, what came of it: True when the phases have succeeded just now.

        Raises StateError when that cannot be kept.
        """
        from agent.refresher import OPEN  # noqa: PLC0415 - it runs, so it is loaded

        running = self._running
        if running is None:
            return False
        ended = os.waitpid(running.pid, os.WNOHANG)[0] != 0
        running = replace(running, said=running.said + _read(running.hears))
        if ended:
            self._running = None
            running.close()
            self._ended(running)
            return self.phases.succeeded == running.wanted.digest
        if not running.waiting and running.said == f"{OPEN}\n":
            running = replace(running, waiting=True, said="")
            self.phases = replace(self.phases, admitted=running.wanted.keys)
            log.debug("phases let deployments begin", pid=running.pid)
        self._running = running
        return False

    def leave(self) -> None:
        """Stop watching: the run ends at 55, or goes on when it is behind that."""
        if self._running:
            self._running.close()
            self._running = None

    def _ended(self, running: Running) -> None:
        from agent.refresher import BUSY, FAILED  # noqa: PLC0415 - it ran, so it is loaded

        record = self._read()
        self.phases = replace(
            self.phases, running=False, admitted=frozenset(), succeeded=str(record.get("succeeded", ""))
        )
        if self.phases.succeeded == running.wanted.digest:
            self._failures, self._busy_since = 0, 0.0
            self.phases = replace(self.phases, failed="", failed_run_at=0.0, failing_since=0.0, reason="")
            log.info("phases succeeded", seconds=round(self._clock() - running.began_at, 1))
            return
        word, _, reason = running.said.strip().partition(" ")
        busy = word == BUSY
        self._busy_since = (self._busy_since or running.began_at) if busy else 0.0
        if word not in (FAILED, BUSY):
            reason = f"the process that ran them ended without a result; see {log_file(running.wanted.settings)}"
        self._failed(running, reason, jsontext.number(record.get("failing_since")) or running.began_at, busy=busy)

    def _failed(self, running: Running, reason: str, since: float, *, busy: bool) -> None:
        """Remember a failure: durably since when, so that who waits does not wait anew with each agent."""
        settings, now = running.wanted.settings, self._clock()
        self._failures += 1
        pause_s = settings.min_polling_interval * 2.0 ** min(self._failures - 1, 30)
        pause_s = min(pause_s, SLOWEST * settings.polling_interval)
        patience_s = settings.phases_timeout if busy else settings.phases_patience if self._stays else 0.0
        self.phases = replace(
            self.phases,
            failed=running.wanted.digest,
            failed_run_at=running.began_at,
            failing_since=self._busy_since or since,
            retry_at=now + pause_s if self._stays else float("inf"),
            patience_s=patience_s,
            reason=reason,
        )
        log.error(
            "phases failed", reason=reason, times=self._failures, again_in_s=round(pause_s) if self._stays else None
        )
        if not busy:
            content: JsonMap = {"succeeded": self.phases.succeeded, "failing_since": since, "reason": reason}
            state.write(self._record, state.dump(content))

    def _read(self) -> JsonMap:
        try:
            return jsontext.decode_map(self._record.read_bytes(), str(self._record))
        except FileNotFoundError:  # they never ran, or an operator wants them to run again
            return {}
        except MetadataError as exc:
            state.move_aside(self._record, str(exc))
            return {}
        except OSError as exc:
            raise state.failure("reading", self._record, exc) from exc


def standing(settings: Settings, documents: tuple[Document, ...], record: JsonMap, known: Phases = NO_PHASES) -> Phases:
    """Where the phases stand by what is on disk now, over what is `known` of them in memory."""
    here = documents and present(settings, os.environ)
    return replace(
        known,
        wanted=digest(documents) if here else "",
        succeeded=str(record.get("succeeded", "")),
        failing_since=jsontext.number(record.get("failing_since")),
    )


def digest(documents: Iterable[Document]) -> str:
    """One text for all the metadata at hand, in its order."""
    names = "\n".join(f"{document.source} {document.name} {document.digest}" for document in documents)
    return hashlib.sha256(names.encode()).hexdigest()


def present(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether this guest has templates or scripts of phases; without them there is nothing to run or to wait for."""
    templates = layout.templates(environ, settings.root, settings.templates_dir)[0]
    if any(not name.endswith(".oac") for _, _, names in os.walk(templates) for name in names):
        return True
    base = Path(layout.phases(environ, settings.root, settings.phases_dir)[0])
    if not base.is_dir():
        return False
    from agent import parts, phases  # noqa: PLC0415 - for guests that have them

    return any(set(parts.present(f"{base}/{phase}.d", environ)) - {phases.DISPATCH} for phase in phases.PHASES)


def log_file(settings: Settings) -> Path:
    return settings.path(settings.log_dir) / "phases.log"


def _start(wanted: Wanted, record: Path, now: float) -> Running:
    from agent import refresher  # noqa: PLC0415 - for guests that have phases

    log_to = log_file(wanted.settings)
    job = refresher.Job(wanted.settings, wanted.documents, wanted.digest, record, log_to)
    tree.prctl()  # loaded once here instead of in each child
    hears, says = os.pipe()
    listens, tells = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            refresher.main(job, listens, says)
    except OSError as exc:
        for fd in (hears, tells):
            os.close(fd)
        raise StateError(f"starting the phases: {exc.strerror}; end other processes") from exc
    finally:
        for fd in (says, listens):
            os.close(fd)
    os.set_blocking(hears, False)
    return Running(wanted, now, pid, os.pidfd_open(pid), hears, tells)


def _read(fd: int) -> str:
    try:
        return os.read(fd, 1 << 16).decode("utf-8", "replace")
    except BlockingIOError:
        return ""
