"""Waiting for what another process or thread does: for the condition, never for a while."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LONGEST_S = 180.0
"""For whatever has to happen. No machine is so slow or so busy that it takes as long; only a fault does."""
LOOK_S = 0.03


def until(condition: Callable[[], T], what: str | Callable[[], str], *, look_s: float = LOOK_S) -> T:
    """The first answer of `condition` that is true; an AssertionError naming `what` was waited for when none comes."""
    deadline = time.monotonic() + LONGEST_S
    while not (value := condition()):
        if time.monotonic() >= deadline:
            raise AssertionError(f"waited {LONGEST_S:.0f} s for {what if isinstance(what, str) else what()}")
        time.sleep(look_s)
    return value
