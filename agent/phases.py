"""The contract of os-refresh-config: four directories of scripts in turn, error.d, one deadline, one lock.

The first failure ends a phase and the run; then `error.d` is told what failed. One deadline covers all of it. Steps of
the agent's own may stand among the scripts of the phase configure.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agent.errors import ApplyError, Busy
from agent.parts import FOREVER, NO_STEPS, BuiltIn, Parts, Say, in_order, present, profile, run_parts

PHASES = ("pre-configure", "configure", "post-configure", "migration")
ERROR_TIME_S = 60.0
"""How long error.d may run although the time is over."""

LOCK_FILE = "/var/run/os-refresh-config.lock"
CONFIGURE, TEMPLATES, DISPATCH = "configure", "20-os-apply-config", "55-heat-config"
"""The phase that the agent's own steps belong to, and the scripts whose place they take."""


def planned(base: str, environ: Mapping[str, str], built_in: Collection[str] = ()) -> dict[str, tuple[str, ...]]:
    """The names that `refresh` would run, by phase; those of `built_in` are in the phase configure."""
    own = {CONFIGURE: built_in}
    return {
        phase: in_order({*present(f"{base}/{phase}.d", environ), *own.get(phase, ())})
        for phase in PHASES
        if own.get(phase) or Path(f"{base}/{phase}.d").is_dir()
    }


@dataclass(frozen=True, slots=True)
class Refreshed:
    """How the phases were run, in order; only the last one can have failed."""

    phases: tuple[Parts, ...]

    @property
    def failed(self) -> bool:
        return bool(self.phases) and self.phases[-1].status != 0


Tell: TypeAlias = Callable[[str, str], None]


def refresh(
    base: str,
    environ: Mapping[str, str],
    say: Say,
    tell: Tell,
    *,
    timeout_s: float = FOREVER,
    built_in: Mapping[str, BuiltIn] = NO_STEPS,
) -> Refreshed:
    """Run the phases below `base` until a script fails, then its error handlers; the time limit covers all.

    `tell` gets a level (DEBUG, INFO, ERROR) and a text for each event. Steps of `built_in` are in the phase configure,
    whether or not it has a directory.
    """
    deadline = time.monotonic() + timeout_s
    done: list[Parts] = []
    for phase in PHASES:
        directory = f"{base.rstrip('/') or '/'}/{phase}.d" if base else f"{phase}.d"
        steps = built_in if phase == CONFIGURE else NO_STEPS
        tell("DEBUG", f"Checking {directory}")
        if not steps and not Path(directory).exists():
            tell("DEBUG", f"No dir for phase {phase}")
            continue
        tell("INFO", f"Starting phase {phase}")
        parts = _phase(directory, environ, say, deadline, steps)
        done.append(parts)
        deadline += parts.paused_s
        if not parts.status:
            tell("INFO", f"Completed phase {phase}")
            continue
        if parts.timed_out:
            tell("ERROR", f"Timeout reached: {timeout_s:g}s. Sending SIGKILL to all children")
        command = f"['dib-run-parts', '{directory}']"
        tell("ERROR", f"during {phase} phase. [Command '{command}' returned non-zero exit status {parts.status}.]\n")
        left_s = max(deadline - time.monotonic(), min(timeout_s, ERROR_TIME_S))
        _handle(f"{base}/error.d", phase, parts, environ, say, tell, time.monotonic() + left_s)
        tell("ERROR", "Aborting...")
        break
    return Refreshed(tuple(done))


def _phase(
    directory: str,
    environ: Mapping[str, str],
    say: Say,
    deadline: float,
    built_in: Mapping[str, BuiltIn] = NO_STEPS,
) -> Parts:
    if not Path(directory).is_dir() and not (built_in and not Path(directory).exists()):
        say(f"Scripts directory [{directory}] must exist and be a directory")
        return Parts(directory, 1)
    try:
        parts = run_parts(directory, environ, say, deadline=deadline, built_in=built_in)
    except (ApplyError, OSError) as exc:
        say(f"Cannot run the scripts of {directory}: {exc}")
        return Parts(directory, 1)
    if not parts.status:
        for line in profile(parts):
            say(line)
    return parts


def _handle(
    directory: str, phase: str, failed: Parts, environ: Mapping[str, str], say: Say, tell: Tell, deadline: float
) -> None:
    """Run the error handlers, who learn from their environment what failed; how they end changes nothing."""
    if not Path(directory).exists():
        return
    tell("INFO", "Calling error handlers.")
    knowing = {
        **environ,
        "OS_REFRESH_CONFIG_FAILED_PHASE": phase,
        "OS_REFRESH_CONFIG_FAILED_SCRIPT": failed.failed_script,
        "OS_REFRESH_CONFIG_FAILED_STATUS": str(failed.status),
    }
    if _phase(directory, knowing, say, deadline).timed_out:
        tell("ERROR", "The error handlers were ended: their time is over")


# --------------------------------------------------------------------------------------------------- lock


class Lock:
    """One run at a time: a flock(2) on a file that names the process while it runs and is empty afterwards.

    Raises Busy, with errno's EAGAIN as its exit status, when another process has it.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as exc:
            raise ApplyError(f"could not open the lock file {path}: {exc.strerror}") from exc
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as exc:
            holder = os.pread(self._fd, 200, 0).decode("utf-8", "replace").strip()
            os.close(self._fd)
            raise Busy(f"Could not lock {path}. {exc}{'. ' if holder else ''}{holder}") from exc
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"Locked by pid=={os.getpid()} at {time.strftime('%Y-%m-%dT%H:%M:%S%z')}\n".encode())

    def release(self) -> None:
        os.ftruncate(self._fd, 0)
        os.close(self._fd)
