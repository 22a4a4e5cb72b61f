"""One cycle; the only place where the arrows meet.

    collect ─▶ merge ─▶ plan ─▶ dispatch ─▶ record ─▶ signal

The engine never waits: it fetches (bounded), starts runners up to `max_parallel`, and is told by the loop in
`daemon.py` when one of them has ended. Whatever it must remember is on disk before it goes on.
"""

from __future__ import annotations

import os
import random
import time
from collections import deque
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress

from agent import (
    asked,
    cleaning,
    dispatch,
    documents,
    hooks,
    instance,
    keeping,
    log,
    model,
    progress,
    runner,
    seal,
)
from agent.cleaning import Cleaning
from agent.delivery import Delivery
from agent.dispatch import Running
from agent.errors import StateError
from agent.journal import Journal
from agent.metadata import Answer, Metadata, places
from agent.model import Deployment, Entry
from agent.plan import Hold, Run, Signal, plan, withdrawn
from agent.reboots import Reboots
from agent.refresh import Refresh
from agent.settings import Given, Settings

STRIP_S = 1.0  # between two times that the documents are written without what is done, while others wait
IDENTITY_S = 300.0  # for so long cloud-init is waited for, which tries to reach its metadata service


class Engine:
    """The agent's memory between two cycles: settings, documents, journal, runners."""

    def __init__(
        self,
        given: Given,
        *,
        can_hold: bool,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[float, float], float] = random.uniform,
        alive: Callable[[], object] = lambda: None,
    ) -> None:
        """`alive` is called between steps that take long, each of which is bounded: requests, clean-ups."""
        settings = given.settings()
        shelf = documents.Disk(places(settings), self._need_of, seal.load(settings, given.environ))
        self.metadata = Metadata(given, clock, alive, shelf)
        self._alive = alive
        self.can_hold = can_hold
        self.journal = Journal(places(self.settings), clock)
        self.refresh = Refresh(places(self.settings), clock, stays=can_hold)
        self.running: dict[str, Running] = {}
        self.holding: dict[str, float] = {}
        self._queue: deque[Deployment] = deque()
        self._listed: dict[str, Deployment] = {}
        self._cancelled: set[str] = set()
        self._delivery = Delivery(self.journal, self.metadata, clock, jitter)
        self._reboots = Reboots(self.journal, clock)
        self._noted: frozenset[str] | None = None
        self._cleaning = Cleaning(clock)
        self._stripped_at = 0.0
        self._began = clock()
        self._clock = clock

    @property
    def settings(self) -> Settings:
        return self.metadata.settings

    @property
    def failed(self) -> Collection[str]:
        """The keys of deployments that failed since the start."""
        return self._delivery.failed

    def open(self) -> None:
        """Read the state that an earlier agent left, and take over its runners. The caller holds the lock.

        Raises Unidentified while it is not known whether that agent ran on this machine.
        """
        may_wait = self._clock() < self._began + IDENTITY_S
        instance.settle(self.settings, self.journal.places, may_wait=may_wait)
        self.metadata.disown(instance.passed_over(self.settings))
        self.journal.open()
        self.metadata.open()
        for key, entry in self.journal.entries().items():
            if entry.progress == model.RUNNING:
                self.running[key] = dispatch.adopt(key, self.journal)
                log.info("runner taken over", deployment=key, pid=self.running[key].pid)

    def cycle(self, sources: Collection[str] | None = None) -> Mapping[str, Answer]:
        """Ask `sources` (all when None) and begin what is due; returns what each of them answered."""
        answers = self.metadata.collect(sources)
        fresh = {name for name, answer in answers.items() if answer.fault is None}
        self.journal.rescan()
        deployments = self.metadata.deployments()
        self._listed = {deployment.key: deployment for deployment in deployments}
        asked.take(self.journal, self._listed)
        self._settle_interrupted()
        self._withdraw(deployments, fresh)
        self._reboots.settle(self._listed, self.settings)
        self._forget()
        sources = self.metadata.named if self.metadata.complete else ()
        self._cleaning.look(self.journal.entries().values(), self._listed, sources)
        self.refresh.look(self.settings, self.metadata.standing(), self._listed)
        self._dispatch(fresh)
        return answers

    def refreshed(self) -> None:
        """The process that runs the phases has something to say, or has ended."""
        if self.refresh.hear() and self.metadata.reload_changed():  # a template of this guest has made them
            self.cycle()
            return
        self.refresh.look(self.settings, self.metadata.standing(), self._listed)
        self._dispatch(fresh=())

    def _dispatch(self, fresh: Collection[str]) -> None:
        self._queue.clear()
        for step in plan(
            self._listed.values(),
            {key: self.journal.entry(key) for key in self._listed},
            has_hook=lambda group: hooks.find(group, self.settings, os.environ) is not None,
            now=self._clock(),
            grace_s=self.settings.hook_grace if self.can_hold else 0.0,
            fresh=fresh,
            phases=self.refresh.phases,
        ):
            match step:
                case Signal(deployment):
                    self._delivery.send(deployment)
                case Run(deployment):
                    self.holding.pop(deployment.key, None)
                    self._queue.append(deployment)
                case Hold():
                    self._hold(step)
        self.advance()

    def advance(self) -> None:
        """Start what waits in the queue while there is room, then record what endpoints took; then the phases' turn.

        In this order, because a durable write takes as long as a short hook. A crash between the two costs a repeated
        signal, as a crash right after the endpoint's answer does: the document is looked at first, and Heat ignores it.
        """
        try:
            self._clean()
            self._start()
        finally:
            self._delivery.record()
        if self._reboots.wanted:
            self._reboot()
        elif not (self.running or self._queue) and self.refresh.waiting:
            self.refresh.go_on()
        elif not (self.running or self._queue):
            self.refresh.start_if_due()
        if not self._queue or self._clock() >= self._stripped_at + STRIP_S:
            self._strip()

    def _need_of(self, key: str) -> keeping.Need:
        return keeping.need(self.journal.entry(key).progress)

    def _strip(self) -> None:
        """Take off the disk what nobody needs any more of secrets. The records that say so are durable by now, so a
        crash in between leaves it to the next start.
        """
        self._stripped_at = self._clock()
        self.journal.strip()
        self.metadata.tend()

    def _start(self) -> None:
        while self._queue and not self._reboots.wanted and len(self.running) < max(self.settings.max_parallel, 1):
            if self._cleaning.holds(self._queue[0].group):
                break
            deployment = self._queue.popleft()
            if self.journal.entry(deployment.key).progress not in (model.UNKNOWN, model.RECEIVED):
                continue
            started = dispatch.start(deployment, self.journal, self.settings)
            if started is None:
                log.error("a runner of this deployment is alive already", deployment=deployment.id)
                started = dispatch.adopt(deployment.key, self.journal)
            else:
                self._name_unknown_options(deployment)
                log.info("deployment started", deployment=deployment.id, name=deployment.name, group=deployment.group)
                if progress.wanted(deployment):
                    tokens = self.metadata.connection("heat").tokens
                    progress.follow(deployment, started.pidfd, self.journal, self.settings, tokens)
            self.running[deployment.key] = started
            if self._queue:  # noted while the hook runs, because a durable write takes as long as a short hook
                with suppress(StateError):  # its own turn will say so
                    self.journal.received(self._queue[0])

    def ended(self, key: str) -> None:
        """A runner has ended, or has yet to say who it is: take its outcome and send it, or watch it better."""
        running = self.running.pop(key)
        if key == cleaning.KEY:
            self._cleaning.ended(running.close(), self.journal)
            self.advance()
            return
        entry = self.journal.refresh(key)
        if entry.progress == model.RUNNING:  # handed over: the runner in the unit holds the lock
            self.running[key] = dispatch.follow(running, self.journal)
            if key in self._cancelled:
                dispatch.cancel(self.running[key])
            return
        running.close()
        log.info("deployment ended", deployment=entry.id, progress=entry.progress)
        if entry.progress == model.INTERRUPTED:
            self._interrupted(entry)
        with suppress(OSError):  # a lock file left behind does no harm
            self.journal.lock_path(key).unlink()
        deployment = self._listed.get(key)
        if deployment is not None:  # also one that came back after it was cancelled: it is waited for again
            self._cancelled.discard(key)
            self._take(deployment)
        elif key in self._cancelled:
            self._supersede(entry)
        self.advance()  # an outcome whose document was not looked at yet stays for the next cycle

    def _take(self, deployment: Deployment) -> None:
        """What a runner that has ended leaves to be done: another run, a reboot, or an outcome to send."""
        match self.journal.entry(deployment.key).progress:
            case model.RECEIVED if deployment.manner.rerun:
                self._queue.appendleft(deployment)
                return
            case model.REBOOTING:
                self._reboots.settle(self._listed, self.settings)
                if self.journal.entry(deployment.key).progress != model.FINISHED:
                    return
            case _:
                self._tell_who_waited(deployment.key)
        self._delivery.send(deployment)

    def stop_all(self) -> None:
        """Let go of the runners: they go on without us, and the next agent takes them over. Bounded, see dispatch."""
        dispatch.leave(self.running.values())
        self.running.clear()
        self.refresh.leave()

    def next_due(self) -> float:
        """When something is to be done that no source and no runner will tell us of; infinity when nothing is."""
        times = [self._cleaning.due, *(self.holding[key] for key in self.holding if key in self._listed)]
        times.append(self._reboots.due(self.settings))
        if not (self.running or self._reboots.wanted):
            times.append(self.refresh.next_due())
        return min([*times, *(entry.next_try_at for entry in self.unsent())], default=float("inf"))

    @property
    def idle(self) -> bool:
        """Whether nothing is under way that will tell us of its end."""
        if self.running or self.refresh.working:
            return False
        return bool(self._reboots.wanted) or not (self._queue or self.refresh.waiting)

    def unsent(self) -> tuple[Entry, ...]:
        """Outcomes that wait for their endpoint and are still wanted."""
        entries = self.journal.entries().values()
        return tuple(e for e in entries if e.progress == model.FINISHED and e.key in self._listed)

    def all_succeeded(self) -> bool:
        """Whether there were deployments, and each one is done, was taken by its endpoint and did not fail."""
        done = (model.SIGNALLED, model.FOREIGN)
        taken = all(self.journal.entry(key).progress in done for key in self._listed)
        undone = self.failed or self.metadata.faults or not self.refresh.phases.settled
        return self.idle and taken and bool(self._listed) and not undone

    def exit_status(self) -> int:
        if self.failed:
            return 1
        degraded = self.metadata.faults or self.unsent() or self._reboots.wanted or not self.refresh.phases.settled
        return 2 if degraded else 0

    # --------------------------------------------------------------------------------- dispatch and record

    def _clean(self) -> None:
        """Have the containers removed of what left the metadata, once no hook works on containers any more."""
        busy = any(key == cleaning.KEY or self.journal.entry(key).group in hooks.SYNCED for key in self.running)
        if busy or self.refresh.working:
            return
        if started := self._cleaning.begin(self._listed, self.journal, self.settings):
            self.running[cleaning.KEY] = started

    def _settle_interrupted(self) -> None:
        for key, entry in list(self.journal.entries().items()):
            if entry.progress == model.INTERRUPTED and key not in self.running:
                log.error("hook was interrupted", deployment=entry.id or key)
                self._alive()
                self._interrupted(entry)

    def _interrupted(self, entry: Entry) -> None:
        """A hook was interrupted: that is its outcome, unless it asks to be run again and is still wanted."""
        deployment = self._listed.get(entry.key)
        wanted = deployment is not None and deployment.manner.rerun
        if wanted and dispatch.rerun(entry.key, self.journal, self.settings):
            log.warning("interrupted hook is run again", deployment=entry.id, attempt=entry.attempt + 1)
        else:
            dispatch.interrupted(entry.key, self.journal, self.settings)

    def _tell_who_waited(self, key: str) -> None:
        """Say in an outcome of a timeout who waited behind it: it may have waited for them."""
        if not self._queue:
            return
        body = self.journal.outcome(key)
        if body.get("deploy_status_code") != model.STATUS_TIMEOUT:
            return
        names = ", ".join(f"'{deployment.name}'" for deployment in self._queue)
        parallel = self.settings.max_parallel
        log.warning("others waited for a deployment that timed out", deployment=key, waited=names, parallel=parallel)
        note = (
            f"meanwhile {names} waited behind it (max_parallel {parallel}); raise max_parallel if it waits for them\n"
        )
        self.journal.finish(key, {**body, "deploy_stderr": f"{body.get('deploy_stderr') or ''}{note}"})

    def _name_unknown_options(self, deployment: Deployment) -> None:
        hook = hooks.find(deployment.group, self.settings, os.environ) if deployment.options else None
        if hook and (reason := runner.unknown_options(deployment, hook)):
            log.warning("unknown option", deployment=deployment.id, reason=reason)

    def _reboot(self) -> None:
        """Have the machine rebooted once nothing else runs; no deployment is begun until then."""
        if self.running or self.refresh.working:
            return
        if failed := self._reboots.act(self.settings):
            for key in failed:
                self._delivery.send(self._listed[key])
            self.advance()

    def _withdraw(self, deployments: Collection[Deployment], fresh: Collection[str]) -> None:
        """What the newest document no longer lists: its hook is cancelled, its outcome is never sent."""
        # a damaged record, or one of an old door, has no source that could take it away: all of them together can
        nameless = () if self.metadata.faults else ("",)
        for entry in withdrawn(deployments, dict(self.journal.entries()), {*fresh, *nameless}):
            if entry.progress in (model.FINISHED, model.REBOOTING):
                self._supersede(entry)
            elif entry.key in self.running and entry.key not in self._cancelled:
                log.warning("no longer wanted, hook cancelled", deployment=entry.id)
                self._cancelled.add(entry.key)
                dispatch.cancel(self.running[entry.key])

    def _forget(self) -> None:
        """Bound the state: once every source has answered, what left the metadata long ago goes, with its log."""
        if self.metadata.faults or self._listed.keys() == self._noted:
            return
        self._noted = frozenset(self._listed)
        self.journal.note_listed(self._noted)
        at_most = self.settings.retention_count
        for key in self.journal.prune(older_than_s=self.settings.retention, at_most=at_most):
            log.info("forgotten", deployment=key)
            with suppress(OSError):  # a log that stays does no harm
                self.settings.path(self.settings.log_dir).joinpath(f"{key}.log").unlink()

    def _supersede(self, entry: Entry) -> None:
        self.journal.settle(entry.key, model.SUPERSEDED, "its id left the metadata before the outcome was taken")
        self._cancelled.discard(entry.key)
        log.warning("outcome superseded, not sent", deployment=entry.id)

    def _hold(self, step: Hold) -> None:
        deployment, until = step.deployment, step.until
        self.journal.received(deployment)
        if deployment.key not in self.holding:
            if step.for_phases:
                log.info("waits for the phases", deployment=deployment.id)
            elif step.for_source:
                log.warning("waits for its source", deployment=deployment.id, unknown=deployment.missing)
            else:
                reason = hooks.missing(deployment.group, self.settings, os.environ)
                log.warning("held", deployment=deployment.id, seconds=round(until - self._clock()), reason=reason)
        self.holding[deployment.key] = until
