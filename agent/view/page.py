"""Text for people: tables that fit a terminal, times as one says them, colours where they are welcome."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TextIO

from agent import log

WIDTH = 80
COLOURS = {"good": "32", "bad": "31", "odd": "33", "faint": "2", "strong": "1"}


class Ink:
    """Colours a word, or does not: only a terminal that wants colours gets any."""

    def __init__(self, stream: TextIO, environ: Mapping[str, str]) -> None:
        self.wet = log.wants_colour(stream, environ)

    def __call__(self, text: str, colour: str) -> str:
        return f"\x1b[{COLOURS[colour]}m{text}\x1b[0m" if self.wet and text.strip() else text


def here(stream: TextIO) -> Ink:
    """For this process's own stream."""
    return Ink(stream, os.environ)


def plain(text: str) -> str:
    """Text from outside on one line that does nothing to a terminal."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)


def cell(text: str, width: int) -> str:
    """Exactly `width` columns; what is too long ends with an ellipsis."""
    shown = plain(text)
    return f"{shown[: width - 1]}…" if len(shown) > width else f"{shown:{width}}"


def columns(rows: Sequence[Sequence[str]], most: Sequence[int]) -> list[list[str]]:
    """Cells padded to the widest of their column, at most `most` of them each."""
    widths = [min(max((len(plain(row[n])) for row in rows), default=0), limit) for n, limit in enumerate(most)]
    return [[cell(text, width) for text, width in zip(row, widths, strict=True)] for row in rows]


def wrapped(text: str, indent: str, first: str = "", width: int = WIDTH) -> Iterable[str]:
    """Lines of at most `width` columns, broken at blanks; a word that is longer stands alone."""
    line, empty = first or indent, True
    for word in plain(text).split():
        if not empty and len(line) + 1 + len(word) > width:
            yield line
            line, empty = indent, True
        line, empty = f"{line}{'' if empty else ' '}{word}", False
    yield line


def span(seconds: float) -> str:
    """A duration in its largest sensible unit: 340 ms, 12 s, 3 min, 5 h, 2 days."""
    if seconds <= 0:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10 and round(seconds, 1) != round(seconds):
        return f"{seconds:.1f} s"
    for size, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def ago(then: float, now: float) -> str:
    if not then:
        return "never"
    return f"{span(now - then)} ago" if now - then >= 1 else "just now"


def ending(end: float, now: float) -> str:
    return f"ends in {span(end - now)}" if end > now else f"ended {ago(end, now)}"


def moment(at: float) -> str:
    """A time as the logs write it, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) if at else "-"
