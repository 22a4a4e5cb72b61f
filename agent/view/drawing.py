"""The timeline as a picture: SVG that needs nothing else, for a browser, a ticket or a README. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from agent.view.page import moment, plain, span
from agent.view.timeline import LEGEND, Bar, Chapter

WIDTH, LEFT, RIGHT, ROW, HEAD, FOOT = 960, 190, 110, 26, 46, 30
NAME = 26  # characters of a name that fit

STYLE = """
  .page { fill: #fbfbf9 } .strong { fill: #23272e; font-weight: 600 } .word { fill: #3c424b } .faint { fill: #8b929c }
  .grid { stroke: #e4e5e1 } .stripe { fill: #f3f4f0 } .waits { fill: #d3d7d2 } .hook { fill: #3f7fb5 }
  .failed { fill: #c5503f } .signal { fill: #e3b04b } .moment { stroke: #6d9a5f; fill: #6d9a5f }
  @media (prefers-color-scheme: dark) {
    .page { fill: #1b1e23 } .strong { fill: #eceef0 } .word { fill: #c4c8ce } .faint { fill: #7f8790 }
    .grid { stroke: #2d3138 } .stripe { fill: #20242a } .waits { fill: #434952 }
  }
"""
FONT = 'font-family="system-ui, sans-serif" font-size="12"'


def svg(chapters: Sequence[Chapter]) -> str:
    """The whole picture."""
    heights = [HEAD + ROW * (len(c.moments) + len(c.bars)) + FOOT for c in chapters]
    height = sum(heights) + 34
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" {FONT}>',
        "<title>deployments of this server over time</title>",
        f"<style>{STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{height}" rx="8"/>',
    ]
    top = 0
    for chapter, tall in zip(chapters, heights, strict=True):
        parts += _chapter(chapter, top)
        top += tall
    parts += _legend(top + 14)
    return "\n".join([*parts, "</svg>", ""])


def _chapter(chapter: Chapter, top: int) -> Iterator[str]:
    rows = len(chapter.moments) + len(chapter.bars)
    base = top + HEAD + ROW * rows
    title = f"{moment(chapter.start)}  ·  {span(chapter.end - chapter.start)}"
    yield f'<text class="strong" x="20" y="{top + 28}">{escape(title)}</text>'
    for number in range(0, rows, 2):
        y = top + HEAD + ROW * number
        yield f'<rect class="stripe" x="12" y="{y}" width="{WIDTH - 24}" height="{ROW}" rx="4"/>'
    for tick in chapter.ticks():
        x = _x(chapter, chapter.start + tick)
        yield f'<line class="grid" x1="{x}" x2="{x}" y1="{top + HEAD}" y2="{base}"/>'
        yield f'<text class="faint" x="{x}" y="{base + 16}" text-anchor="middle">{span(tick)}</text>'
    for number, happened in enumerate(chapter.moments):
        y, x = top + HEAD + ROW * number, _x(chapter, happened.at)
        yield _label(happened.name, y)
        yield f'<line class="moment" x1="{x}" x2="{x}" y1="{y + 5}" y2="{base}" stroke-dasharray="1 4"/>'
        yield f'<circle class="moment" cx="{x}" cy="{y + ROW / 2}" r="4"/>'
        yield _note(f"+{span(happened.at - chapter.start)}" if happened.at > chapter.start else "start", y)
    for number, bar in enumerate(chapter.bars, len(chapter.moments)):
        yield from _bar(chapter, bar, top + HEAD + ROW * number)


def _bar(chapter: Chapter, bar: Bar, y: int) -> Iterator[str]:
    yield _label(bar.name, y)
    for kind, start, end in bar.parts:
        x, to = _x(chapter, start), _x(chapter, end)
        style = "failed" if kind == "hook" and bar.failed else kind
        tall = 14 if kind == "hook" else 6
        place = f'x="{x}" y="{y + (ROW - tall) / 2}" width="{max(to - x, 2):.1f}" height="{tall}" rx="3"'
        said = f"{escape(plain(bar.name))}: {kind} {span(end - start)}"
        yield f'<rect class="{style}" {place}><title>{said}</title></rect>'
    yield _note(bar.note, y)


def _x(chapter: Chapter, at: float) -> float:
    share = (at - chapter.start) / (chapter.end - chapter.start)
    return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(share, 0), 1), 1)


def _label(name: str, y: int) -> str:
    shown = plain(name)
    cut = f"{shown[: NAME - 1]}…" if len(shown) > NAME else shown
    return f'<text class="word" x="20" y="{y + 17}">{escape(cut)}</text>'


def _note(text: str, y: int) -> str:
    return f'<text class="faint" x="{WIDTH - 20}" y="{y + 17}" text-anchor="end">{escape(text)}</text>'


def _legend(y: int) -> Iterator[str]:
    x = LEFT
    for style, words in LEGEND:
        yield f'<rect class="{style}" x="{x}" y="{y - 9}" width="14" height="10" rx="2"/>'
        yield f'<text class="faint" x="{x + 20}" y="{y}">{words}</text>'
        x += 44 + 7 * len(words)
