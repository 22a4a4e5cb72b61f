"""Reboots that hooks ask for, by ending with status 194: who wants one, who had it, and making it.

What is known outlives the reboot in the journal: an outcome that names the boot which it is to end, and a count for
that boot.
"""

from __future__ import annotations

from collections.abc import Callable, Collection

from agent import log, model, process, runner
from agent.journal import Journal
from agent.model import Entry
from agent.settings import Settings

AT_MOST = 3  # for one deployment; a hook that asks for more is in a loop
COMMAND_S = 60.0
WITHIN_S = 1800.0  # of the reboot command; systemd itself gives up waiting for services before


class Reboots:
    """Who waits for a reboot, and when it was asked for."""

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self.wanted: tuple[str, ...] = ()
        self._asked_at: float | None = None
        self._journal = journal
        self._clock = clock

    def settle(self, listed: Collection[str], settings: Settings) -> None:
        """Whoever asked for a reboot and had it is to be run again; who had too many of them fails."""
        entries = self._journal.entries().values()
        wanting = [entry for entry in entries if entry.progress == model.REBOOTING and entry.key in listed]
        boot = runner.boot_id(settings) if wanting else ""
        self.wanted = tuple(entry.key for entry in wanting if not self._had(entry, boot))
        if not self.wanted:
            self._asked_at = None

    def due(self, settings: Settings) -> float:
        """When the reboot should have come; infinity when none was asked for."""
        if self._asked_at is None or not settings.reboot_command:
            return float("inf")
        return self._asked_at + WITHIN_S

    def act(self, settings: Settings) -> tuple[str, ...]:
        """Run the reboot command, once; returns who failed because there will be no reboot. Nothing else may run."""
        command = settings.reboot_command.split()
        if self._asked_at is not None:
            if self._clock() < self.due(settings):
                return ()
            return self._fail(f"{command[0]} did not reboot this machine within {WITHIN_S:.0f} s")
        self._asked_at = self._clock()
        if not command:
            log.warning("reboot wanted, reboot_command is empty: reboot this machine", deployments=self.wanted)
            return ()
        log.warning("rebooting", deployments=self.wanted, command=command[0])
        try:
            process.ask(command, timeout_s=COMMAND_S)
        except OSError as exc:
            return self._fail(f"{settings.reboot_command}: {exc.strerror}; see the setting reboot_command")
        return ()

    def _had(self, entry: Entry, boot: str) -> bool:
        """Whether the reboot that a hook asked for lies behind us, or will never be."""
        key, asked_in = entry.key, str(self._journal.outcome(entry.key)[model.REBOOT_FROM])
        counted = entry.left_boot == asked_in and entry.reboots > 0
        if not counted and entry.reboots >= AT_MOST:
            no_reboot(key, self._journal, f"it had {AT_MOST} reboots already; correct what it waits for")
            return True
        if not counted:  # counted before the reboot: a crash in between repeats this look, not the count
            self._journal.note(key, reboots=entry.reboots + 1, left_boot=asked_in)
            log.warning("hook asks for a reboot", deployment=entry.id, reboots=entry.reboots + 1)
        if boot == asked_in:
            return False
        log.info("rebooted, hook is run again", deployment=entry.id)
        self._journal.unmark(key)
        # a wish that names the same boot once more is another one; a crash just before this costs one count
        self._journal.note(key, left_boot="")
        return True

    def _fail(self, why: str) -> tuple[str, ...]:
        log.error("no reboot", reason=why)
        keys, self.wanted, self._asked_at = self.wanted, (), None
        for key in keys:
            no_reboot(key, self._journal, why)
        return keys


def no_reboot(key: str, journal: Journal, why: str) -> None:
    """Turn a hook's wish for a reboot into its final outcome, which fails and says why."""
    body = {name: value for name, value in journal.outcome(key).items() if name != model.REBOOT_FROM}
    stderr = body.get("deploy_stderr") or ""
    note = f"the hook asked for a reboot (status {model.STATUS_REBOOT}): {why}\n"
    journal.finish(key, {**body, "deploy_stderr": f"{stderr}{note}"})
