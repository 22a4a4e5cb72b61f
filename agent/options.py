"""The options that every deployment has, whatever its group: in which manner its hook is to be run. Pure.

What is wrong with one is a fault of the deployment, so that Heat is told instead of something else being done.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

LIMITS = ("memory", "tasks", "cpu_time", "open_files")
COMMON = frozenset({"timeout", "on_interrupt", "progress", "run_as", "signature", "cpu", *LIMITS})
"""What every group knows; the others are the hook's own (`OPTIONS` of its module)."""

_SIZE = re.compile(r"([0-9]{1,18})([KMGT]?)")
_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}
_LARGEST = 1 << 62
_MOST_CPU = 100_000


@dataclass(frozen=True, slots=True)
class Manner:
    """How a deployment asks to be run. `limits` are by option: bytes, numbers, seconds; the CPU is percent of one."""

    timeout_s: float | None = None
    rerun: bool = False
    run_as: str = ""
    limits: Mapping[str, int] = field(default_factory=dict)
    cpu_percent: int = 0


USUAL = Manner()


def parse(options: Mapping[str, object], faults: list[str]) -> Manner:
    """The manner that the options ask for; what cannot be understood is added to `faults`."""
    if COMMON.isdisjoint(options):
        return USUAL
    return Manner(
        _timeout(options.get("timeout"), faults),
        _rerun(options.get("on_interrupt"), faults),
        _run_as(options.get("run_as"), faults),
        _limits(options, faults),
        _percent(options.get("cpu"), faults),
    )


def _timeout(value: object, faults: list[str]) -> float | None:
    if value is None or value == "":
        return None
    try:
        seconds = float(cast(Any, value))
    except (TypeError, ValueError, OverflowError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        faults.append("its option timeout is no positive number of seconds")
        return None
    return seconds


def _rerun(value: object, faults: list[str]) -> bool:
    if value not in (None, "", "fail", "rerun"):
        faults.append("its option on_interrupt is neither fail nor rerun")
    return value == "rerun"


def _run_as(value: object, faults: list[str]) -> str:
    if value is None or value == "":
        return ""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return str(value)
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\$?", value):
        return value
    faults.append("its option run_as is neither a user's name nor a uid")
    return ""


def _limits(options: Mapping[str, object], faults: list[str]) -> dict[str, int]:
    limits = {}
    for name in LIMITS:
        value = options.get(name)
        if value is None or value == "":
            continue
        number = _number(value)
        if 0 < number <= _LARGEST:
            limits[name] = number
        else:
            units = ", or one with K, M, G or T" if name == "memory" else ""
            faults.append(f"its option {name} is no positive whole number{units}")
    return limits


def _percent(value: object, faults: list[str]) -> int:
    if value is None or value == "":
        return 0
    percent = _number(value.removesuffix("%") if isinstance(value, str) else value)
    if 0 < percent <= _MOST_CPU:
        return percent
    faults.append(f"its option cpu is no percentage of one CPU from 1 to {_MOST_CPU}")
    return 0


def _number(value: object) -> int:
    """A whole number as YAML and Heat's parameters give it; 0 when it is none."""
    if isinstance(value, bool):
        return 0
    if isinstance(value, (int, float)):
        return int(value) if abs(value) <= _LARGEST and value == int(value) else 0
    found = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) << _UNITS[found[2]] if found else 0
