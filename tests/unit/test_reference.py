"""`docs/reference-settings.md` is made from the table of settings: `REWRITE=1 .ci/python -m pytest <this file>`."""

import os

from agent.settings import FIELDS, flag_of
from tests.conftest import CHECKOUT

PAGE = CHECKOUT / "docs/reference-settings.md"
HEAD = """\
# Settings

Written by `tests/unit/test_reference.py` from the table in `agent/settings.py`. Times are in seconds, sizes in
bytes. Paths lie below `--root`. A list is comma-separated; in a file, its key may also stand several times.

Every setting can be given in four ways, the first of these wins:

1. a flag of the command line,
2. an environment variable,
3. the `os-collect-config` section of the metadata: `collectors` and the sections of collectors only,
4. a file: `/etc/os-deploy-agent/*.conf`, of which the last by name wins, then `/etc/os-collect-config.conf`.
   Both are INI files; keys without a section of their own stand in `[DEFAULT]`.
"""


def reference() -> str:
    """The whole page."""
    sections: dict[str, list[str]] = {}
    for key, known in FIELDS.items():
        section, _, name = key.rpartition(".")
        default = "secret" if known.metadata["secret"] else shown(known.default)
        cells = [f"`{name}`", default, known.metadata["help"], f"`{flag_of(key)}`", f"`{variable(section, name)}`"]
        sections.setdefault(section or "DEFAULT", []).append(f"| {' | '.join(cells)} |")
    head = "| key | default | what | flag | environment |\n|---|---|---|---|---|"
    tables = [f"\n## [{section}]\n\n{head}\n" + "\n".join(rows) + "\n" for section, rows in sections.items()]
    return HEAD + "".join(tables)


def variable(section: str, name: str) -> str:
    return f"OS_{section or 'DEFAULT'}__{name}".upper()


def shown(default: object) -> str:
    if isinstance(default, tuple):
        return "<br>".join(f"`{item}`" for item in default) or "none"
    text = f"{default:g}" if isinstance(default, float) and default < 1e6 else f"{default}".removesuffix(".0")
    return f"`{text}`" if text else "empty"


def test_the_page_of_settings_says_what_the_code_says() -> None:
    if os.environ.get("REWRITE"):
        PAGE.write_text(reference(), "utf-8")

    assert reference() == PAGE.read_text("utf-8"), "run this test again with REWRITE=1"
