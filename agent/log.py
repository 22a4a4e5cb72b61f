"""Logs: one event per arrow, constant words with fields, on stderr; a console on a terminal, JSON lines elsewhere.

structlog costs 50 ms and 12 MiB to import, so it is imported by the first event that is really written: a run with
nothing to say never pays.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, TextIO

from agent import masking

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class Log:
    """Where events go. Made once by the command line and handed to nobody: modules use `log.info(…)` below."""

    def __init__(self) -> None:
        self.threshold = LEVELS["info"]
        self.stream: TextIO | None = None
        self.as_json: bool | None = None
        self._logger: Any = None

    def emit(self, level: str, event: str, fields: Mapping[str, object]) -> None:
        if LEVELS[level] < self.threshold:
            return
        if self._logger is None:
            self._logger = _structlog(self.stream or sys.stderr, self.as_json)
        getattr(self._logger, level)(event, **fields)


_log = Log()


def set_level(level: str) -> None:
    """`level` is one of LEVELS."""
    _log.threshold = LEVELS[level]


def direct(stream: TextIO, *, as_json: bool) -> None:
    """Write to `stream` from the first event on, as lines of JSON or for people's eyes."""
    _log.stream, _log.as_json = stream, as_json


def debug(event: str, **fields: object) -> None:
    _log.emit("debug", event, fields)


def info(event: str, **fields: object) -> None:
    _log.emit("info", event, fields)


def warning(event: str, **fields: object) -> None:
    _log.emit("warning", event, fields)


def error(event: str, **fields: object) -> None:
    _log.emit("error", event, fields)


def _redact_event(_logger: object, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """The second net below the rule that no value from the metadata is logged at all."""
    for key, value in event.items():
        if masking.is_secret(key):
            event[key] = masking.MASK
        elif isinstance(value, str):
            event[key] = masking.text(value)
    return {"timestamp": event.pop("timestamp"), "level": event.pop("level"), "event": event.pop("event"), **event}


def wants_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """A terminal that says nothing against it (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


class _Console:
    """One event as a line that one can read: the time of day, what happened, and to whom by name."""

    def __init__(self, *, coloured: bool) -> None:
        self._coloured = coloured
        self._names: dict[str, str] = {}

    def __call__(self, _logger: object, _name: str, event: MutableMapping[str, Any]) -> str:
        at, level, what = (str(event.pop(key)) for key in ("timestamp", "level", "event"))
        who = str(event.pop("deployment", ""))
        self._names[who] = str(event.pop("name", "")) or self._names.get(who, who)
        facts = [self._names[who], *(f"{key}={value}" for key, value in event.items())]
        said = " ".join(fact for fact in facts if fact)
        colour = {"warning": "33", "error": "31"}.get(level, "")
        if self._coloured and colour:
            what = f"\x1b[{colour}m{what}\x1b[0m"
        elif colour:
            what = f"{level}: {what}"
        return f"{at[11:19]}  {what}  {''.join(c if c.isprintable() else '?' for c in said)}".rstrip()


def _structlog(stream: TextIO, as_json: bool | None) -> Any:
    import structlog  # noqa: PLC0415 - heavy, see the module's docstring

    tail: Any = structlog.processors.JSONRenderer(sort_keys=False)
    if not as_json if as_json is not None else stream.isatty():
        tail = _Console(coloured=wants_colour(stream, os.environ))
    return structlog.wrap_logger(
        structlog.WriteLogger(stream),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _redact_event,
            tail,
        ],
        wrapper_class=structlog.BoundLogger,
        cache_logger_on_first_use=True,
    ).bind()
