"""`python -m tests.hostile [--minutes N] [--seed N] [DOOR …]`: what outsiders may send, until time is over."""

from __future__ import annotations

import argparse
import resource
import sys
import time

from tests.hostile.doors import DOORS
from tests.hostile.judge import inspect

ROUND = 200  # examples of a door before the next one has its turn


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="of the processor, in all (default: %(default)g)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="of the first round (default: the time)")
    parser.add_argument("doors", metavar="DOOR", nargs="*", default=list(DOORS), help=f"of: {', '.join(DOORS)}")
    options = parser.parse_args()
    return fuzz(options.doors, options.seed, options.minutes * 60)


def fuzz(names: list[str], seed: int, seconds: float) -> int:
    """Rounds of each door in turn; 1 when a law was broken, after everything was told."""
    broken = rounds = 0
    while _spent() < seconds:
        for name in names:
            if found := inspect(DOORS[name], seed, ROUND, 300.0):
                broken += 1
                print(f"BROKEN {found}", flush=True)
        rounds, seed = rounds + 1, seed + 1
        print(f"next seed {seed}: {rounds * ROUND} of each, {_spent() / 60:.1f} min, {broken} broken", flush=True)
    return 1 if broken else 0


def _spent() -> float:
    """Seconds of the processor that our children had."""
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


if __name__ == "__main__":
    sys.exit(main())
