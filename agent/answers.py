"""What a server's answer means: a usable one, a refusal, or a reason to ask again later; and asking again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from agent.errors import Refused, Unavailable

T = TypeVar("T")

SKEW_TOLD_S = 60.0  # from here on a wrong clock is worth a word beside a refusal
SHOWN_OF_ERROR = 200  # bytes of an error answer that go into a message

# Answers after which asking again may help: RFC 9110 15.5-15.6, RFC 6585, and Heat's "500 for an unknown key".
_TEMPORARY = frozenset({408, 421, 425, 429, *range(500, 600)})
# Answers that no repeat will change. 401 and 403 are not among them: clocks are set, policies mended.
_FINAL = frozenset({400, 404, 405, 409, 410, 411, 413, 414, 415, 422})


@dataclass(frozen=True, slots=True)
class Response:
    """An answer below 400 (or 304); header names are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)


def judge(shown: str, response: Response) -> Response:
    """Give the answer back, or raise what it means."""
    if response.status < 400:
        return response
    said = " ".join(response.body[:SHOWN_OF_ERROR].decode("utf-8", "replace").split())
    message = f"{shown}: answered {response.status}{f' ({said})' if said else ''}"
    if response.status in (401, 403) and abs(skew := clock_skew(response.headers)) > SKEW_TOLD_S:
        message += f"; the clock of this guest is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
    if response.status in _TEMPORARY:
        raise Unavailable(message, retry_after_s=retry_after(response.headers))
    raise Refused(message, status=response.status, final=response.status in _FINAL)


def clock_skew(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float:
    """Seconds that our clock is ahead of the one in the answer's Date (RFC 9110 6.6.1), 0 when it has none."""
    try:
        return now() - _moment(headers["date"])
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0.0


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float:
    """Seconds that the server asked us to wait (RFC 9110 10.2.3), 0 when it did not say; never above an hour."""
    text = headers.get("retry-after", "")
    try:
        wait = float(text)
    except ValueError:
        try:
            wait = _moment(text) - now()
        except (TypeError, ValueError, OverflowError):
            return 0.0
    return min(max(wait, 0.0), 3600.0) if wait == wait else 0.0  # noqa: PLR0124 - NaN is not itself


def _moment(date: str) -> float:
    """A date of HTTP as seconds since the epoch. Raises TypeError, ValueError or OverflowError."""
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - 4 ms that a run without HTTP does without

    return parsedate_to_datetime(date).timestamp()


def persist(
    attempt: Callable[[], T],
    *,
    deadline_s: float,
    first_s: float = 0.5,
    longest_s: float = 10.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
    jitter: Callable[[float, float], float] = random.uniform,
) -> T:
    """Try until it works, is refused or `deadline_s` is over: exponential pauses with full jitter, Retry-After obeyed.

    For every verb, POST too: only for requests whose repetition the receiver tolerates, which callers must know.
    """
    end = clock() + deadline_s
    pause = first_s
    while True:
        try:
            return attempt()
        except Unavailable as exc:
            wait = max(exc.retry_after_s, jitter(pause / 2, pause))
            if clock() + wait >= end:
                raise
        sleep(wait)
        pause = min(pause * 2, longest_s)
