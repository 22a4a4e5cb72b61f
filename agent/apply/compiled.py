"""Compiled jinja2 templates, kept from run to run in one file: those of the last run that had to compile any.

The agent never looks into it: the confined child that renders does, so what is in it can do no more than a template.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from agent import log, ownership, state
from agent.errors import StateError

PLACE = "/var/cache/os-deploy-agent/templates"


def stored(path: Path) -> bytes:
    """What an earlier run kept, b"" when there is nothing or others could have written it."""
    with suppress(OSError):  # the first run
        if others := ownership.writable_by_others(path):
            log.warning("compiled templates not used", reason=others)
            return b""
        return path.read_bytes()
    return b""


def keep(path: Path, data: bytes) -> None:
    """Keep it for the next run, which compiles again if that fails."""
    try:
        state.make_directory(path.parent)
        state.write(path, data)
    except StateError as exc:
        log.debug("compiled templates not kept", reason=str(exc))
