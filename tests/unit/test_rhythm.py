"""Ten thousand guests, one cloud, an outage of ten minutes: nobody storms it when it is back.

Virtual time. The plot in docs/rhythm.svg is drawn from the same run: REWRITE=1 writes it anew.
"""

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.daemon import Pace
from agent.errors import Refused, Unavailable
from agent.metadata import Answer

GUESTS = 10_000
OUTAGE_S = (1200, 1800)
END_S = 2700
BOUNDS_S = (1.0, 30.0)
PLOT = Path(__file__).parents[2] / "docs/rhythm.svg"

Poll = Callable[[float, random.Random], float]  # from the time of one poll to that of the next


def ours(retry_after_s: float = 0.0) -> Poll:
    """A guest that follows `Pace`; its first answer is new, all others are the same as before, or none."""
    pace, first = Pace(), [True]
    down = Answer(fault=Unavailable("the cloud is down", retry_after_s=retry_after_s))

    def poll(now: float, rng: random.Random) -> float:
        answer = down if OUTAGE_S[0] <= now < OUTAGE_S[1] else Answer(changed=first[0])
        first[0] = False
        pace.plan_next(answer, now, BOUNDS_S, rng.uniform)
        return pace.due

    return poll


def theirs() -> Poll:
    """os-collect-config: 1 s, doubled after each sleep up to 30 s, no jitter."""
    pause = [0.5]

    def poll(now: float, _rng: random.Random) -> float:
        pause[0] = min(pause[0] * 2, BOUNDS_S[1])
        return now + pause[0]

    return poll


def requests_per_second(make: Callable[[], Poll], started_within_s: float, guests: int = GUESTS) -> list[int]:
    """How many polls reach the cloud in each second of the run."""
    rng = random.Random(7)
    seconds = [0] * END_S
    for _ in range(guests):
        poll, now = make(), rng.uniform(0, started_within_s)
        while now < END_S:
            seconds[int(now)] += 1
            now = poll(now, rng)
    return seconds


def steady(seconds: list[int]) -> float:
    """The mean rate before the outage, once the pauses have grown."""
    return sum(seconds[600 : OUTAGE_S[0]]) / (OUTAGE_S[0] - 600)


@pytest.mark.parametrize("started_within_s", [0.0, 60.0], ids=["all at once", "within a minute"])
@pytest.mark.parametrize("retry_after_s", [0.0, 120.0], ids=["refusing", "asking for patience"])
def test_the_peak_after_an_outage_is_at_most_twice_the_steady_rate(
    started_within_s: float, retry_after_s: float
) -> None:
    seconds = requests_per_second(lambda: ours(retry_after_s), started_within_s)

    assert max(seconds[OUTAGE_S[1] :]) <= 2 * steady(seconds)


def test_fixed_intervals_keep_guests_that_were_started_together_together() -> None:
    seconds = requests_per_second(theirs, 0.0, guests=1000)

    assert max(seconds[OUTAGE_S[1] :]) > 20 * steady(seconds)


def pauses(*answers: Answer) -> list[float]:
    """The longest wait after each of these answers."""
    pace, now = Pace(), 0.0
    waits = []
    for answer in answers:
        pace.plan_next(answer, now, BOUNDS_S, lambda _low, high: high)
        waits.append(pace.due - now)
        now = pace.due
    return waits


def test_pauses_double_to_the_longest_and_any_change_begins_anew() -> None:
    same, changed = Answer(), Answer(changed=True)

    assert [1, 2, 4, 8, 16, 30, 30, 1, 2] == pauses(changed, *[same] * 6, changed, same)


@pytest.mark.parametrize("status", [401, 404, 410])
def test_a_source_that_says_no_is_asked_ever_more_seldom(status: int) -> None:
    refused = Answer(fault=Refused("no", status=status))

    assert [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] == pauses(*[refused] * 11)


@given(st.floats(0.0, 3600.0), st.integers(0, 20), st.floats(0.0, 1.0))
def test_nobody_comes_earlier_than_retry_after(asked_s: float, polls_before: int, share: float) -> None:
    pace = Pace()
    answers = [*[Answer()] * polls_before, Answer(fault=Unavailable("busy", retry_after_s=asked_s))]

    for answer in answers:
        pace.plan_next(answer, 0.0, BOUNDS_S, lambda low, high: low + share * (high - low))

    assert pace.due >= asked_s


def test_the_plot_in_the_docs_is_of_this_run() -> None:
    drawn = svg(requests_per_second(ours, 0.0), requests_per_second(theirs, 0.0))
    if os.environ.get("REWRITE"):
        PLOT.write_text(drawn)

    assert PLOT.read_text() == drawn


def svg(mine: list[int], peers: list[int]) -> str:
    """Both runs, the peer's above: each point is the highest second of ten."""
    width, height, left = 720, 130, 60
    outage = tuple(left + (width - left) * at / END_S for at in OUTAGE_S)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width + 10} {2 * height + 60}" '
            'font-family="sans-serif" font-size="11">'
        )
    ]
    for row, (name, colour, seconds) in enumerate(
        (("fixed intervals (os-collect-config)", "#b04a3a", peers), ("os-deploy-agent", "#2f6f9f", mine))
    ):
        top, peak = 20 + row * (height + 20), max(peers if row == 0 else [2 * round(steady(mine)), *mine[60:]])
        points = " ".join(
            f"{left + (width - left) * at / END_S:.1f},"
            f"{top + height - 20 - (height - 30) * min(max(seconds[at : at + 10]) / peak, 1):.1f}"
            for at in range(0, END_S - 10, 10)
        )
        parts += [
            (
                f'<rect x="{outage[0]:.0f}" y="{top}" width="{outage[1] - outage[0]:.0f}" height="{height - 20}" '
                'fill="#eee"/>'
            ),
            f'<text x="{left}" y="{top - 4}">{name}: requests a second, {GUESTS} guests started at once</text>',
            f'<text x="4" y="{top + 16}">{peak}</text><text x="4" y="{top + height - 20}">0</text>',
            f'<polyline fill="none" stroke="{colour}" points="{points}"/>',
        ]
    parts.append(
        f'<text x="{outage[0]:.0f}" y="{2 * height + 36}">outage, {OUTAGE_S[0]} s to {OUTAGE_S[1]} s</text></svg>'
    )
    return "\n".join(parts) + "\n"
