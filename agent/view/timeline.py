"""What took how long, from the boot to the last signal: `Guest` -> chapters of moments and bars. Pure.

A chapter ends where nothing happened for a while, so that a deployment of today is not a dot beside one of last week.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from agent import model
from agent.view.guest import Guest, Known
from agent.view.page import cell, moment, span

PAUSE_S = 600.0  # of nothing: a new chapter begins
TICKS = 6
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400)
_OPEN = frozenset({model.RECEIVED, model.RUNNING, model.REBOOTING, model.FINISHED, model.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened at one time: the boot, the agent's start, the first answer of a source."""

    at: float
    name: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One deployment: it waits from `at`, its hook runs, its outcome is on its way until `until`.

    `began_at` and `ended_at` are 0 while that has not happened; `open` ends now, not for good.
    """

    at: float
    began_at: float
    ended_at: float
    until: float
    name: str
    failed: bool
    open: bool

    @property
    def parts(self) -> tuple[tuple[str, float, float], ...]:
        """Kind, from, to; only what took any time at all, and the hook always."""
        began, ended = self.began_at or self.until, self.ended_at or self.until
        found = [("waits", self.at, began), ("hook", began, ended), ("signal", ended, self.until)]
        return tuple(
            (kind, start, end) for kind, start, end in found if end > start or (kind == "hook" and began < end)
        )

    @property
    def note(self) -> str:
        """The times as numbers: waited, ran, was signalled."""
        words = [span(end - start) for kind, start, end in self.parts if kind == "hook"]
        short = words[0] if words else f"waits {span(self.until - self.at)}" if not self.began_at else "0 s"
        return short + (" …" if self.open else "")


@dataclass(frozen=True, slots=True)
class Chapter:
    moments: tuple[Moment, ...]
    bars: tuple[Bar, ...]

    @property
    def start(self) -> float:
        return min(*(m.at for m in self.moments), *(b.at for b in self.bars), float("inf"))

    @property
    def end(self) -> float:
        return max(*(m.at for m in self.moments), *(b.until for b in self.bars), self.start + 0.001)

    def ticks(self) -> tuple[float, ...]:
        """Seconds from the start at round numbers, a handful."""
        length = self.end - self.start
        step = next((s for s in _STEPS_S if length / s <= TICKS), length / TICKS)
        return tuple(number * step for number in range(int(length / step) + 1))


def chapters(guest: Guest, now: float) -> tuple[Chapter, ...]:
    """The deployments in the order of their coming, with what happened around them; oldest first."""
    posted = guest.bulletin
    moments = [Moment(guest.booted_at, "boot"), Moment(posted.started_at, posted.command)]
    moments += [Moment(source.first_at, f"{name} answers") for name, source in posted.sources.items()]
    bars = [_bar(known, now) for known in guest.deployments if known.came_at]
    found: list[tuple[list[Moment], list[Bar]]] = []
    end = float("-inf")
    items: list[Moment | Bar] = [*(m for m in moments if m.at), *bars]
    for item in sorted(items, key=lambda item: item.at):
        if item.at - end > PAUSE_S:
            found.append(([], []))
        end = max(end, item.until if isinstance(item, Bar) else item.at)
        if isinstance(item, Bar):
            found[-1][1].append(item)
        else:
            found[-1][0].append(item)
    return tuple(Chapter(tuple(some), tuple(bars)) for some, bars in found if bars)


def _bar(known: Known, now: float) -> Bar:
    entry = known.entry
    settled = known.settled_at or known.ended_at
    unsettled = entry.progress in _OPEN and known.listed
    until = now if unsettled else max(settled, known.ended_at, known.came_at)
    name, failed = known.deployment.name, bool(known.outcome) and known.failed
    return Bar(known.came_at, known.began_at, known.ended_at, until, name, failed, unsettled)


NAME, NOTE = 22, 14
LEGEND = (("waits", "waits"), ("hook", "hook"), ("failed", "hook failed"), ("signal", "signal under way"))
SIGNS = {"waits": "·", "hook": "█", "signal": "▒", "failed": "▓", "moment": "▏"}
ASCII = {"waits": ".", "hook": "#", "signal": "=", "failed": "X", "moment": "|"}


def text(chapters: Sequence[Chapter], width: int, signs: dict[str, str]) -> Iterator[str]:
    """Bars of characters on `width` columns."""
    for number, chapter in enumerate(chapters):
        if number:
            yield ""
        yield f"{moment(chapter.start)}, {span(chapter.end - chapter.start)}"
        yield from _rows(chapter, width - NAME - NOTE - 2, signs)
    if chapters:
        yield ""
        yield "   ".join(f"{signs[kind]} {words}" for kind, words in LEGEND)


def _rows(chapter: Chapter, wide: int, signs: dict[str, str]) -> Iterator[str]:
    scale = (wide - 1) / (chapter.end - chapter.start)

    def column(at: float) -> int:
        return min(max(round((at - chapter.start) * scale), 0), wide - 1)

    for happened in chapter.moments:
        after = happened.at - chapter.start
        note = f"+{span(after)}" if after else ""
        yield (
            f"{cell(happened.name, NAME)} {' ' * column(happened.at)}{signs['moment']}".ljust(NAME + 1 + wide)
            + f" {note}"
        )
    for bar in chapter.bars:
        drawn = [" "] * wide
        for kind, start, end in sorted(bar.parts, key=lambda part: part[0] == "hook"):  # the hook over its neighbours
            sign = signs["failed" if kind == "hook" and bar.failed else kind]
            for at in range(column(start), max(column(end), column(start) + 1)):
                drawn[at] = sign
        yield f"{cell(bar.name, NAME)} {''.join(drawn)} {cell(bar.note, NOTE).rstrip()}"
    axis = [" "] * (wide + NOTE)
    for tick in chapter.ticks():
        at = column(chapter.start + tick)
        axis[at : at + len(span(tick))] = span(tick)
    yield f"{'':{NAME}} {''.join(axis).rstrip()}"
