"""`docs/reference-causes.md` is made from the list of causes: `REWRITE=1 .ci/python -m pytest <this file>`."""

import os

from agent.doctor.causes import CAUSES
from tests.conftest import CHECKOUT

PAGE = CHECKOUT / "docs/reference-causes.md"
HEAD = """\
# Causes

Written by `tests/unit/test_causes.py` from the list in `agent/doctor/causes.py`: what `agent doctor` can name. Where
it finds several, the one that stands first here is the cause, because it hides the others. `tests/operator/faults.py`
makes each fault and looks whether it is named.

| code | what is wrong | what to do |
|---|---|---|
"""


def reference() -> str:
    """The whole page."""
    return HEAD + "".join(f"| `{cause.code}` | {cause.title} | {cause.next_step} |\n" for cause in CAUSES)


def test_the_page_of_causes_says_what_the_code_says() -> None:
    if os.environ.get("REWRITE"):
        PAGE.write_text(reference(), "utf-8")

    assert reference() == PAGE.read_text("utf-8"), "run this test again with REWRITE=1"
