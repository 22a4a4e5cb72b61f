"""What answers mean and how often to try, with a clock that costs nothing."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.answers import Response, judge, persist, retry_after
from agent.errors import Refused, Unavailable
from agent.transport import show

NOON = datetime(2026, 11, 21, 12, 0, tzinfo=timezone.utc)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0.5", 0.5),
        ("-3", 0.0),
        ("soon", 0.0),
        ("nan", 0.0),
        ("inf", 3600.0),
        ("999999", 3600.0),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30.0),
        ("Sat, 21 Nov 2026 11:59:00 GMT", 0.0),
        ("Sun, 21 Nov 2027 12:00:30 GMT", 3600.0),
        ("Sat, 99 Nov 2026 12:00:30 GMT", 0.0),
    ],
)
def test_a_server_may_ask_for_seconds_or_name_a_date_within_reason(text: str, seconds: float) -> None:
    assert seconds == retry_after({"retry-after": text}, NOON.timestamp)


@given(st.text() | st.floats().map(str) | st.datetimes(timezones=st.just(timezone.utc)).map(format_datetime))
def test_whatever_a_server_asks_for_the_wait_has_a_bound(text: str) -> None:
    assert 0 <= retry_after({"retry-after": text}, NOON.timestamp) <= 3600


def test_without_the_header_nobody_asked() -> None:
    assert 0.0 == retry_after({}, NOON.timestamp)


@pytest.mark.parametrize("status", [200, 201, 204, 301, 304, 399])
def test_an_answer_below_400_is_an_answer(status: int) -> None:
    answer = Response(status, {}, b"")

    assert answer is judge("GET http://x/", answer)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_some_refusals_are_worth_another_try(status: int) -> None:
    with pytest.raises(Unavailable, match=rf"^GET http://x/: answered {status} \(busy now\)$") as caught:
        judge("GET http://x/", Response(status, {"retry-after": "9"}, b"busy\n  now"))

    assert 9.0 == caught.value.retry_after_s
    assert caught.value.sent


@pytest.mark.parametrize(
    ("status", "final"),
    [(400, True), (401, False), (403, False), (404, True), (405, True), (409, True), (410, True), (413, True)],
)
def test_other_refusals_are_refusals_and_some_are_for_good(status: int, final: bool) -> None:
    with pytest.raises(Refused) as caught:
        judge("POST http://x/", Response(status, {}, b"\xff no"))

    assert (status, final) == (caught.value.status, caught.value.final)


@pytest.mark.parametrize(("ahead_s", "said"), [(300, "300 s ahead of"), (-300, "300 s behind"), (30, "")])
def test_a_wrong_clock_is_named_beside_a_refusal(ahead_s: int, said: str) -> None:
    theirs = datetime.now(timezone.utc) - timedelta(seconds=ahead_s)

    with pytest.raises(Refused) as caught:
        judge("POST http://x/", Response(403, {"date": format_datetime(theirs)}, b""))

    assert ("clock of this guest" in str(caught.value)) is bool(said)
    assert said.partition(" ")[2] in str(caught.value)


def test_only_the_beginning_of_an_error_page_is_shown() -> None:
    with pytest.raises(Unavailable) as caught:
        judge("GET http://x/", Response(500, {}, b"x" * 100_000))

    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://heat:8000/v1/signal/arn%3A?Signature=secret&a=b", "http://heat:8000/v1/signal/arn%3A?…"),
        ("https://user:secret@heat/v1", "https://heat/v1"),
        ("http://heat/v1/#secret", "http://heat/v1/"),
        ("http://[::1]:8000/x", "http://[::1]:8000/x"),
    ],
)
def test_a_url_is_shown_without_what_it_hides(url: str, shown: str) -> None:
    assert shown == show(url)


# -------------------------------------------------------------------------------------------------- persist


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def failing(times: int, **fault: float) -> Callable[[], str]:
    """An attempt that is not answered `times` times, and then is."""
    left = iter(range(times))

    def attempt() -> str:
        if next(left, None) is not None:
            raise Unavailable("not now", **fault)  # type: ignore[arg-type]
        return "answer"

    return attempt


def longest(_low: float, high: float) -> float:
    return high


def try_on(clock: Clock, attempt: Callable[[], str], deadline_s: float = 60.0) -> str:
    return persist(attempt, deadline_s=deadline_s, sleep=clock.sleep, clock=clock, jitter=longest)


def test_what_works_at_once_is_not_waited_for() -> None:
    clock = Clock()

    assert "answer" == try_on(clock, failing(0))
    assert [] == clock.slept


def test_pauses_double_up_to_the_longest() -> None:
    clock = Clock()

    assert "answer" == try_on(clock, failing(7))
    assert [0.5, 1.0, 2.0, 4.0, 8.0, 10.0, 10.0] == clock.slept


def test_the_pause_that_a_server_asks_for_is_kept() -> None:
    clock = Clock()

    try_on(clock, failing(2, retry_after_s=20.0))

    assert [20.0, 20.0] == clock.slept


def test_it_ends_before_its_deadline_with_the_last_reason() -> None:
    clock = Clock()

    with pytest.raises(Unavailable, match="not now"):
        try_on(clock, failing(1000), deadline_s=30.0)

    assert sum(clock.slept) < 30.0


def test_a_refusal_is_not_tried_again() -> None:
    clock = Clock()

    def refused() -> str:
        raise Refused("no", status=403)

    with pytest.raises(Refused):
        try_on(clock, refused)

    assert [] == clock.slept


@given(st.floats(0, 1), st.floats(0.1, 300))
def test_jitter_stays_within_half_and_whole_of_a_pause_and_time_is_never_overrun(share: float, deadline: float) -> None:
    clock = Clock()

    with pytest.raises(Unavailable):
        persist(
            failing(10_000),
            deadline_s=deadline,
            sleep=clock.sleep,
            clock=clock,
            jitter=lambda low, high: low + share * (high - low),
        )

    assert clock.now < 100.0 + deadline + 1e-6
    assert all(0.25 <= pause <= 10.0 for pause in clock.slept)
