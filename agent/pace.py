"""When one source is asked next: soon after a change, then less and less often, and no two guests together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import Refused
from agent.metadata import Answer
from agent.settings import Settings

REFUSED_SLOWER = 10.0  # times the longest pause, for a source that refuses
Jitter = Callable[[float, float], float]


@dataclass(slots=True)
class Pace:
    """When one source is asked next: the minimum after any change, then pauses that double up to the maximum.

    Each wait is drawn from the upper half of its pause, so that guests which were started together drift apart.
    """

    pause_s: float = 0.0
    due: float = 0.0

    def plan_next(self, answer: Answer, now: float, bounds: tuple[float, float], jitter: Jitter) -> None:
        shortest, longest = bounds
        if isinstance(answer.fault, Refused):  # it understood us and said no: no hurry to hear that again
            longest *= REFUSED_SLOWER
        self.pause_s = shortest if answer.changed else min(max(self.pause_s * 2, shortest), longest)
        asked_s = getattr(answer.fault, "retry_after_s", 0.0)  # by a server that asks everybody: no two come together
        self.due = now + (asked_s + jitter(0.0, self.pause_s) if asked_s else jitter(self.pause_s / 2, self.pause_s))


def bounds(name: str, settings: Settings) -> tuple[float, float]:
    """Shortest and longest pause of a source. CFN has its own: each poll costs the cloud a sign-in."""
    if name == "cfn":
        return settings.cfn_min_polling_interval, max(settings.cfn_polling_interval, settings.cfn_min_polling_interval)
    if name in ("ec2", "config_drive"):  # neither changes often, and the tree is a request per leaf
        return settings.ec2_polling_interval, settings.ec2_polling_interval
    return settings.min_polling_interval, max(settings.polling_interval, settings.min_polling_interval)
