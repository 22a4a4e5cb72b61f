"""One line of the result, and all of them as a table that is Markdown as well."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

HEADER = ("measured", "ours", "theirs", "they / we", "target")


@dataclass(frozen=True)
class Row:
    """`better` says how many times the peers pay what we pay; None where they have no counterpart."""

    measured: str
    ours: str
    theirs: str = ""
    better: float | None = None
    target: str = ""


def render(rows: Sequence[Row]) -> str:
    cells = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEADER))]
    rule = tuple("-" * width for width in widths)
    return "\n".join(_line(row, widths) for row in (cells[0], rule, *cells[1:]))


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) + " |"


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.better is None else f"{row.better:.1f}" if row.better < 100 else f"{row.better:.0f}"
    return row.measured, row.ours, row.theirs, ratio, row.target
