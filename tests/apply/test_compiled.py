"""Compiled templates from an earlier run: used, renewed, and never trusted further than a template."""

import marshal
from pathlib import Path

import pytest

from agent.apply import jinja
from agent.apply.jinja import Text


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache/templates"


def render(place: Path, *texts: str, **metadata: str) -> list[str]:
    return jinja.render([Text(text, text) for text in texts], dict(metadata), 30.0, place)


def test_what_was_compiled_once_is_used_by_the_next_run(place: Path) -> None:
    render(place, "one {{ a }}", "two {{ a }}", a="x")
    made_by, codes = marshal.loads(place.read_bytes())
    first, second = codes
    place.write_bytes(marshal.dumps((made_by, {first: codes[second], second: codes[first]})))

    swapped = render(place, "one {{ a }}", "two {{ a }}", a="y")

    assert ["two y", "one y"] == swapped
    assert 0o600 == place.stat().st_mode & 0o777


def test_a_run_that_compiles_nothing_writes_nothing(place: Path) -> None:
    render(place, "one {{ a }}", a="x")
    before = place.stat()

    assert ["one y"] == render(place, "one {{ a }}", a="y")

    assert (before.st_ino, before.st_mtime_ns) == (place.stat().st_ino, place.stat().st_mtime_ns)


def test_a_changed_template_is_compiled_and_one_that_is_gone_is_forgotten(place: Path) -> None:
    render(place, "one", "two")

    assert ["one", "three"] == render(place, "one", "three")

    assert 2 == len(marshal.loads(place.read_bytes())[1])


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", marshal.dumps(None), marshal.dumps(("other", {})), b"\xa9\x02"])
def test_a_damaged_file_or_one_of_another_version_is_made_anew(place: Path, damage: bytes) -> None:
    render(place, "one {{ a }}", a="x")
    good = place.read_bytes()
    place.write_bytes(damage)

    assert ["one y"] == render(place, "one {{ a }}", a="y")

    assert good == place.read_bytes()


def test_a_file_that_others_may_write_is_not_used(place: Path) -> None:
    render(place, "one", "two")
    made_by, codes = marshal.loads(place.read_bytes())
    first, second = codes
    place.write_bytes(marshal.dumps((made_by, {first: codes[second], second: codes[first]})))
    place.chmod(0o666)

    assert ["one", "two"] == render(place, "one", "two")


def test_a_place_that_cannot_be_written_costs_nothing_but_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    assert ["one"] == render(tmp_path / "file/templates", "one")
