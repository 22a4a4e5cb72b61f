"""Runs in the agent's own processes: an hour passes with each file that appears in the directory HOURS.

Python imports this module by itself because its directory stands on PYTHONPATH, which hooks do not inherit.
"""

import os
import selectors
import time

LOOK_S = 0.05
real_monotonic, real_select = time.monotonic, selectors.DefaultSelector.select


def monotonic():
    return real_monotonic() + 3600 * len(os.listdir(os.environ["HOURS"]))


def select(self, timeout=None):
    """Wake now and then, to see what time it is."""
    return real_select(self, LOOK_S if timeout is None else min(timeout, LOOK_S))


if "HOURS" in os.environ:
    time.monotonic = monotonic
    selectors.DefaultSelector.select = select
