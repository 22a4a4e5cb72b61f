"""A slice of the comparison, the same one every time; `make fuzz` goes on from here."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings

from tests.conftest import CHECKOUT, need, require
from tests.fuzz.guest import Pair, Step, pair
from tests.fuzz.judge import Judge
from tests.fuzz.tools import TOOLS
from tests.tools import install

need("unshare", "mount", "chroot", "systemctl", "awk")
require(os.geteuid() == 0, "needs root for a mount namespace")
require(install.directory("peers"), "needs the tools that are replaced: .ci/python -m tests.tools install")

CHECKS = list(HealthCheck)  # how long an example takes is the tools' affair
COMPATIBILITY = (CHECKOUT / "docs/compatibility.md").read_text("utf-8")


@pytest.fixture(scope="module")
def both() -> Iterator[Pair]:
    with pair() as guests:
        yield guests


@pytest.mark.parametrize("name", TOOLS)
def test_what_the_old_tool_does_is_done(name: str, both: Pair) -> None:
    tool = TOOLS[name]
    judge = Judge(both, tool.expected, tool.ignored)

    @settings(max_examples=tool.examples, derandomize=True, deadline=None, database=None, suppress_health_check=CHECKS)
    @given(tool.scenes)
    def compare(steps: tuple[Step, ...]) -> None:
        judge.judge(steps)

    compare()

    assert judge.seen["same"] > 0, judge.seen


@pytest.mark.parametrize("line", sorted({expected.line for tool in TOOLS.values() for expected in tool.expected}))
def test_each_difference_stands_in_the_table(line: str) -> None:
    assert any(row.startswith("| ") and line in row for row in COMPATIBILITY.splitlines()), line


def test_a_difference_that_nothing_expects_is_found(both: Pair) -> None:
    step = Step("os-apply-config", ("--key", ""))

    with pytest.raises(AssertionError, match="os-apply-config"):
        Judge(both, (), lambda name: name.startswith("var/log/")).judge((step,))
