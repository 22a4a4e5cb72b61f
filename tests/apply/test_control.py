"""Control files that are no control files are refused in words."""

from pathlib import Path

import pytest

from agent.apply import templates
from agent.errors import ApplyError


def test_a_control_file_nested_without_end_is_refused_and_ends_nobody(tmp_path: Path) -> None:
    (tmp_path / "motd.oac").write_text("[" * 30_000)

    with pytest.raises(ApplyError, match=": it is nested deeper than 64 levels"):
        templates.control(tmp_path / "motd")


@pytest.mark.parametrize("given", ["visudo", "[]", "[visudo, -c]", "[1, '%s']", "{a: '%s'}"])
def test_a_validation_that_is_no_command_with_a_place_for_the_file_is_refused(tmp_path: Path, given: str) -> None:
    (tmp_path / "motd.oac").write_text(f"validate: {given}\n")

    with pytest.raises(ApplyError, match="validate: a list of words is wanted"):
        templates.control(tmp_path / "motd")
