"""The command that has to accept a new file before it comes to its place: `visudo -cf %s` and the like."""

from __future__ import annotations

from pathlib import Path

from agent.apply.place import Change
from agent.errors import ApplyError

LONGEST_S = 60.0
LAST_WORDS = 2000
HOLE = "%s"


def command(given: object) -> tuple[str, ...]:
    """The command as a document gives it. Raises ApplyError for what is no list of words, one of which holds `%s`."""
    words = given if isinstance(given, list) else []
    if not all(isinstance(word, str) and "\0" not in word for word in words) or not any(HOLE in word for word in words):
        raise ApplyError(f"validate: a list of words is wanted, one of them with {HOLE}, which becomes the new file")
    return tuple(words)


def accept(change: Change, fresh: Path | None) -> None:
    """Show the new file, which is beside its target, to the command of its placement.

    Raises ApplyError when the command ends with another status than 0, or not within `LONGEST_S` seconds. What it
    prints of a secret file is not repeated.
    """
    placement = change.placement
    if not placement.validate or fresh is None or placement.link:
        return
    from agent import process  # noqa: PLC0415 - most files have no such command

    argv = [word.replace(HOLE, str(fresh)) for word in placement.validate]
    try:
        done = process.run(argv, env=process.environment({}), cwd=Path("/"), timeout_s=LONGEST_S, keep=LAST_WORDS)
    except (OSError, ValueError) as exc:  # ValueError: a zero byte among the words
        reason = getattr(exc, "strerror", None) or exc
        raise ApplyError(f"validating {change.path}: starting {argv[0]}: {reason}; no file was changed") from exc
    if done.timed_out:
        raise ApplyError(f"validating {change.path}: {argv[0]} was ended after {LONGEST_S:.0f} s; no file was changed")
    if done.status:
        said = "" if change.hidden else (done.stdout.text() + done.stderr.text()).strip()
        words = f"\n{said.replace(str(fresh), str(change.path))}" if said else ""
        raise ApplyError(f"validating {change.path}: {argv[0]} ended with {done.status}; no file was changed{words}")
