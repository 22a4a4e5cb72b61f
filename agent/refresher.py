"""The phases as part of the cycle, in the process that runs them.

It writes the metadata where os-collect-config put it (OS_CONFIG_FILES), runs the phases with two steps of our own among
the scripts of `configure.d`, and on success says so on disk. It never decides when to run, nor about a deployment.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import NoReturn

from agent import cache, handover, layout, log, ownership, phases, process, runner, state
from agent.cache import Cache, Item
from agent.errors import AgentError, ApplyError, Busy
from agent.live import LiveLog
from agent.model import Document, JsonMap
from agent.parts import Surroundings
from agent.phases import Refreshed
from agent.settings import UNIT, Settings

OPEN, FAILED, BUSY = "open", "failed", "busy"
"""What we say to the agent: we stand at 55 and wait; or why we end without success, in one line."""

REASON_LIMIT = 2000
HOOKS_S = 30 * 86400.0  # for what runs at 55, where each hook has limits of its own


@dataclass(frozen=True, slots=True)
class Job:
    """What a run is for, the file that tells of its success, and its log."""

    settings: Settings
    documents: tuple[Document, ...]
    digest: str
    record: Path
    log: Path


class TimeOver(BaseException):
    """The time of a step of our own is over."""


def main(job: Job, listens: int, says: int) -> NoReturn:
    """Run the phases and end; only the agent's fork of itself comes here."""
    status = 70
    try:
        if job.settings.runner == UNIT:
            runner.detach(2, listens, says)
            _hand_over(job, listens, says)
        else:
            runner.detach(listens, says)
            _run(job, listens, says)
        status = 0
    except process.Interrupted:  # we were told to end, or the agent is gone: the next one runs them again
        status = 75
    except Exception:  # noqa: BLE001 - the last frame of this process: a traceback in the log
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)


def _hand_over(job: Job, listens: int, says: int) -> None:
    """Have them run in a unit, where they may change what the agent's sandbox keeps from it; stay until they end."""
    work: JsonMap = {
        "documents": [dataclasses.asdict(document) for document in job.documents],
        "digest": job.digest,
        "record": str(job.record),
        "log": str(job.log),
    }
    limit_s = 2 * job.settings.phases_timeout + HOOKS_S  # the steps have their own bounds; hooks run in between
    try:
        handover.run("agent.refresher", "phases", work, job.settings, (listens, says), limit_s)
    except AgentError as exc:
        _report(f"{FAILED} {exc}", says)


def in_unit() -> NoReturn:
    """The phases as systemd runs them; stdin and stdout are the pipes to the agent."""
    taken = handover.take()
    signal.signal(signal.SIGTERM, runner.interrupt)
    documents = tuple(Document(**given) for given in taken.work["documents"])
    record, log_to = Path(taken.work["record"]), Path(taken.work["log"])
    try:
        _run(Job(taken.settings, documents, taken.work["digest"], record, log_to), taken.stdin, taken.stdout)
    except process.Interrupted:
        os._exit(75)
    os._exit(0)  # nobody waits for what a step has left in this process


def _run(job: Job, listens: int, says: int) -> None:
    _log_to(job.log, job.settings.output_limit, (listens, says))
    try:
        said = refresh(job, listens, says)
    except Busy as exc:
        said = f"{BUSY} {exc}"
    except AgentError as exc:
        said = f"{FAILED} {exc}"
    _report(said, says)


def _report(said: str, says: int) -> None:
    if said:
        os.write(says, f"{' '.join(said.split())[:REASON_LIMIT]}\n".encode("utf-8", "replace"))


def refresh(job: Job, listens: int, says: int) -> str:
    """Run the phases for the metadata of a job; returns "" after success, which is on disk then, else why not."""
    settings = job.settings
    if others := _writable_by_others(settings):
        return f"{FAILED} {others}; neither templates nor scripts of the phases are used before"
    lock = phases.Lock(_below(settings.path(phases.LOCK_FILE)))
    kept = Cache(settings.path(settings.cachedir))
    kept.open()
    items = cache.of_documents(job.documents, settings.deployment_key)
    changed = kept.changed(items)
    gone = kept.gone(items, {document.source for document in job.documents}, lambda _source: settings.deployment_key)
    kept.store(items)
    kept.write_list(items)
    steps = Steps(job, listens, says)
    done = phases.refresh(
        layout.phases(os.environ, settings.root, settings.phases_dir)[0],
        process.environment({"OS_CONFIG_FILES": ":".join(str(kept.path(item.file)) for item in items)}),
        _say,
        _tell,
        timeout_s=settings.phases_timeout,
        built_in={phases.TEMPLATES: steps.templates, phases.DISPATCH: steps.dispatch},
    )
    if done.failed:
        lock.release()
        return f"{FAILED} {_why(done, steps)}; see {job.log}"
    _commit(kept, changed, gone, job)
    lock.release()
    return ""


def _writable_by_others(settings: Settings) -> str:
    """Who else may write what the phases would run as root."""
    roots = (
        layout.templates(os.environ, settings.root, settings.templates_dir)[0],
        layout.phases(os.environ, settings.root, settings.phases_dir)[0],
    )
    try:
        return next((fault for root in roots if (fault := ownership.tree_writable_by_others(Path(root)))), "")
    except OSError as exc:
        return f"{exc.filename} cannot be looked at: {exc.strerror}"


def _commit(kept: Cache, changed: tuple[Item, ...], gone: frozenset[str], job: Job) -> None:
    """The phases have succeeded. A crash before the last line runs them again."""
    kept.commit(changed)
    kept.remove(gone)
    state.write(job.record, state.dump({"succeeded": job.digest}))


def _why(done: Refreshed, steps: Steps) -> str:
    parts, limit_s = done.phases[-1], steps.job.settings.phases_timeout
    where = f"{Path(parts.directory).name}/{parts.failed_script or '../environment.d'}"
    if parts.timed_out:
        return f"{where} was ended: the {limit_s:g} s of phases_timeout are over"
    return f"{where}: {steps.fault}" if steps.fault else f"{where} ended with status {parts.status}"


# ------------------------------------------------------------------------------------------ our own steps


@dataclass(slots=True)
class Steps:
    """What the agent does among the scripts of configure.d, and why it could not."""

    job: Job
    listens: int
    says: int
    fault: str = field(default="")

    def templates(self, found: Surroundings, deadline: float) -> tuple[process.Ended, float]:
        """In place of 20-os-apply-config: render the tree with what OS_CONFIG_FILES names, and place it."""
        from agent.apply import compiled, install, place, templates, values  # noqa: PLC0415 - only here

        settings = self.job.settings
        root = layout.templates(found.environ, settings.root, settings.templates_dir)[0]
        try:
            with _alarm(deadline):
                paths, _ = values.sources(found.environ, None)
                metadata = values.read([*values.fallback(settings.root), *paths])
                wanted = templates.placements(
                    Path(root),
                    settings.root,
                    metadata,
                    found.environ,
                    timeout_s=settings.template_timeout,
                    keep_in=settings.path(compiled.PLACE),
                )
                changes = install.install(wanted)
        except TimeOver:
            return process.Ended(1, timed_out=True), 0.0
        except AgentError as exc:
            self.fault = str(exc)
            _say(f"{phases.TEMPLATES}: {exc}")
            return process.Ended(1), 0.0
        for change in changes:
            if change.word != place.UNCHANGED:
                _say(f"{change.word} {change.path}")
        return process.Ended(0), 0.0

    def dispatch(self, _found: Surroundings, _deadline: float) -> tuple[process.Ended, float]:
        """In place of 55-heat-config: let the agent dispatch for as long as it lives; each hook has its own limits."""
        began = time.monotonic()
        os.write(self.says, f"{OPEN}\n".encode())
        if not os.read(self.listens, 1):
            raise process.Interrupted
        return process.Ended(0), time.monotonic() - began


@contextmanager
def _alarm(deadline: float) -> Iterator[None]:
    """Raise TimeOver in the body at the deadline: a template of ours has no process that could be ended."""

    def over(_number: int, _frame: FrameType | None) -> NoReturn:
        raise TimeOver

    left_s = deadline - time.monotonic()
    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, max(min(left_s, 1e8), 0.001))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# --------------------------------------------------------------------------------------------------- log


def _log_to(path: Path, limit: int, private: tuple[int, ...]) -> None:
    """Lead our streams, and those of all scripts, into a log of bounded size.

    A process of its own writes it, which lives as long as anybody has the stream: a service that a script started does
    not die of its next line.
    """
    reading, writing = os.pipe()
    if os.fork() == 0:
        try:
            for fd in (writing, *private):
                os.close(fd)
            live = LiveLog(path, limit)
            while chunk := os.read(reading, process.CHUNK):
                live.write(chunk)
            live.end()
        finally:
            os._exit(0)
    os.close(reading)
    for standard in (1, 2):
        os.dup2(writing, standard)
    os.close(writing)
    log.direct(sys.stderr, as_json=False)


def _below(path: Path) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ApplyError(f"making {path.parent}: {exc.strerror}") from exc
    return path


def _say(text: str) -> None:
    _line(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {text}")


def _tell(level: str, text: str) -> None:
    if level != "DEBUG":
        _say(f"[{level}] {text}")


def _line(text: str) -> None:
    os.write(2, f"{text}\n".encode("utf-8", "replace"))
