"""Programs that the sections need: each bounded, its status looked at, its last words in the message."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from agent import process
from agent.errors import ApplyError
from agent.process import Finished

Tell: TypeAlias = Callable[[str], object]
"""Takes one line of what was done."""

INSTALL_S = 3600.0
QUESTION_S = 300.0
LAST_WORDS = 2000


def ask(argv: Sequence[str], *, timeout_s: float = QUESTION_S, extra: Mapping[str, str] | None = None) -> Finished:
    """Run a program whose status is an answer. Raises ApplyError when it cannot be started or does not end."""
    try:
        done = process.run(
            list(argv), env=process.environment(extra or {}), cwd=Path("/"), timeout_s=timeout_s, keep=LAST_WORDS * 10
        )
    except OSError as exc:
        raise ApplyError(f"running {argv[0]}: {exc.strerror}; install it") from exc
    if done.timed_out:
        raise ApplyError(f"running {' '.join(argv[:3])}: not done within {timeout_s:.0f} s, ended")
    return done


def must(
    argv: Sequence[str], doing: str, *, timeout_s: float = QUESTION_S, extra: Mapping[str, str] | None = None
) -> None:
    """Run a program that has to succeed."""
    done = ask(argv, timeout_s=timeout_s, extra=extra)
    if done.status:
        raise ApplyError(f"{doing}: {argv[0]} ended with {done.status}{last_words(done)}")


def last_words(done: Finished) -> str:
    """The end of what a program printed, on lines of their own; "" when it said nothing."""
    said = (done.stdout.text() + done.stderr.text()).strip()[-LAST_WORDS:]
    return f"\n{said}" if said else ""


def has(program: str) -> bool:
    return shutil.which(program) is not None
