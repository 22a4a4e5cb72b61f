"""What took how long, as bars of text and as a picture."""

import xml.etree.ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from agent.view import drawing, timeline
from agent.view.page import span
from agent.view.timeline import Bar, Chapter, Moment
from tests.operator.conftest import Ask
from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.waiting import until

SLOW = "#!/bin/sh\nsleep 0.3\n"
SVG = "{http://www.w3.org/2000/svg}"


def test_from_the_boot_to_the_last_signal_in_their_order(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("first", SLOW), endpoint.script("broken", "#!/bin/sh\nsleep 0.3\nexit 1\n"))
    guest.once()
    received = min(record["received_at"] for record in guest.journal().values())
    (guest.root / "proc").mkdir()
    (guest.root / "proc/stat").write_text(f"cpu 1 2 3\nbtime {int(received) - 20}\nprocesses 3\n")

    lines = ask("timeline").stdout.splitlines()

    rows = [line.split()[0] for line in lines[1:6]]
    assert ["boot", "agent", "request", "first", "broken"] == rows
    assert max(len(line) for line in lines) <= 80
    assert "█" in lines[4]
    assert "▓" in lines[5]
    assert lines[5].rindex("▓") >= lines[4].rindex("█")
    assert "agent --once" in lines[2]


def test_without_utf_8_the_bars_are_ascii(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", SLOW))
    guest.once()

    said = ask("timeline", PYTHONIOENCODING="ascii", PYTHONUTF8="0").stdout

    assert said.isascii()
    assert "##" in said


def test_the_picture_is_svg_with_every_name_and_nothing_from_outside_in_it(
    guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    evil = '"><script>alert(1)</script>&'
    endpoint.serve(endpoint.script("web", SLOW), {**endpoint.script("evil", SLOW), "name": evil})
    guest.once()

    ask("timeline", "--svg", str(guest.root / "timeline.svg"))

    picture = ET.parse(guest.root / "timeline.svg").getroot()
    texts = [element.text for element in picture.iter(f"{SVG}text")]
    assert "web" in texts
    assert any(text and text.startswith('"><script>') for text in texts)
    assert not list(picture.iter(f"{SVG}script"))
    assert "href" not in (guest.root / "timeline.svg").read_text()


def test_what_is_still_under_way_ends_now(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", SLOW))
    endpoint.spoil = answering(503)
    guest.once(once_patience="0")

    assert "…" in next(line for line in ask("timeline").stdout.splitlines() if line.startswith("web"))


def test_a_second_run_does_not_wait_since_its_document_came(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", SLOW))
    guest.once()
    first = guest.journal()["id-web"]["received_at"]
    ask("rerun", "web")
    until(lambda: guest.once().status == 0, "the second run")

    assert guest.journal()["id-web"]["again"] is True
    assert guest.journal()["id-web"]["received_at"] > first


def test_where_nothing_was_deployed_it_says_so(ask: Ask) -> None:
    assert "nothing was deployed here yet; see agent status" in ask("timeline").stderr


TIMES = st.floats(1e9, 1e9 + 1e6)
BARS = st.builds(
    lambda times, name, failed, still: Bar(*sorted(times), name=name, failed=failed, open=still),
    st.lists(TIMES, min_size=4, max_size=4),
    st.text(max_size=40),
    st.booleans(),
    st.booleans(),
)
CHAPTERS = st.builds(
    Chapter,
    st.lists(st.builds(Moment, TIMES, st.text(max_size=10)), max_size=3).map(tuple),
    st.lists(BARS, min_size=1, max_size=4).map(tuple),
)


@given(st.lists(CHAPTERS, min_size=1, max_size=2))
def test_any_times_and_names_fit_the_page_and_the_picture(chapters: list[Chapter]) -> None:
    for line in timeline.text(chapters, 80, timeline.SIGNS):
        assert len(line.rstrip()) <= 80, line
    picture = ET.fromstring(drawing.svg(chapters))
    for box in picture.iter(f"{SVG}rect"):
        assert 0 <= float(box.get("x", "0")) <= drawing.WIDTH
        assert 0 < float(box.get("width", "0")) <= drawing.WIDTH


@given(BARS)
def test_the_parts_of_a_bar_follow_each_other_without_a_gap(bar: Bar) -> None:
    ends = [bar.at, *(end for _, _, end in bar.parts)]

    assert [start for _, start, _ in bar.parts] == ends[:-1]
    assert bar.until == ends[-1]


@given(st.floats(0, 1e9))
def test_a_duration_is_short_and_has_a_unit(seconds: float) -> None:
    number, unit = span(seconds).split()

    assert float(number) >= 0
    assert unit in ("ms", "s", "min", "h", "days")
    assert len(span(seconds)) <= 11
