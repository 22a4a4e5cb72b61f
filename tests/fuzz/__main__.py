"""`python -m tests.fuzz [--minutes N] [--seed N] [TOOL …]`: the old tools and ours side by side until time is over."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter

import hypothesis
from hypothesis import HealthCheck, given, settings

from tests.fuzz.guest import Pair, Step, pair
from tests.fuzz.judge import Judge
from tests.fuzz.tools import TOOLS

ROUND = 400


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="in all, shared by the tools (default: %(default)g)"
    )
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round (default: the time)")
    parser.add_argument("tools", metavar="TOOL", nargs="*", default=list(TOOLS), help=f"of: {', '.join(TOOLS)}")
    options = parser.parse_args()
    return fuzz(options.tools, options.seed, time.monotonic() + options.minutes * 60)


def fuzz(names: list[str], seed: int, end: float) -> int:
    """Rounds of each tool in turn; 1 when any difference was unexpected, after all of them were told."""
    seen = {name: Counter[str]() for name in names}
    with pair() as guests:
        while time.monotonic() < end:
            for name in names:
                compare(guests, name, seed, end, seen[name])
            seed += 1
            print(f"next seed {seed}:", {name: counts["calls"] for name, counts in seen.items()}, flush=True)
    for name, counts in seen.items():
        print(f"\n{name}")
        for what, number in counts.most_common():
            print(f"{number:8} {what}")
    return 1 if any(counts["UNEXPECTED"] for counts in seen.values()) else 0


def compare(guests: Pair, name: str, seed: int, end: float, seen: Counter[str]) -> None:
    tool = TOOLS[name]
    judge = Judge(guests, tool.expected, tool.ignored, seen)

    @hypothesis.seed(seed)
    @settings(max_examples=ROUND, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(tool.scenes)
    def one(steps: tuple[Step, ...]) -> None:
        if time.monotonic() < end:
            judge.judge(steps)

    try:
        one()
    except AssertionError as exc:
        seen["UNEXPECTED"] += 1
        print(f"{name}, seed {seed}: {exc}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
