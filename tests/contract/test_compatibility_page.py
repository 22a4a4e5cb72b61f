"""`docs/compatibility.md` itself: each proof that it names is there, and no flag of a command is left out."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from agent.cli.main import DOORS
from tests.conftest import CHECKOUT, require
from tests.tools import install
from tests.waiting import LONGEST_S

PAGE = (CHECKOUT / "docs/compatibility.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
FLAG = re.compile(r"(?<![\w-])--?[A-Za-z][\w-]*")
WITHOUT_FLAGS = ("heat-config", "heat-config-notify", "heat-config-rebuild-deployed", "dib-run-parts")


def cases() -> set[str]:
    """The names of all recorded cases, as `suite/case`."""
    found: set[str] = set()
    for path in (CHECKOUT / "tests/cases").glob("*/*/*.json"):
        suite, folder, content = path.parts[-3], path.parts[-2], json.loads(path.read_text("utf-8"))
        listed = content if isinstance(content, list) else content.get("cases", [content])
        group = path.stem if suite == "hooks" else f"{suite}/defects" if folder == "defects" else suite
        found |= {f"{group}/{case.get('id') or case.get('name') or path.stem}" for case in listed}
        found |= {f"{group}/{path.stem}", f"{suite}/{path.stem}"}
    return found


CASES = cases()
TESTS = {str(path.relative_to(CHECKOUT)) for path in (CHECKOUT / "tests").rglob("*") if ".pyc" not in path.name}
FUNCTIONS = {
    name
    for path in (CHECKOUT / "tests").rglob("test_*.py")
    for name in re.findall(r"^def (test_\w+)", path.read_text("utf-8"), re.MULTILINE)
}


def proofs() -> list[str]:
    """Everything between backticks in the last cell of a row of three."""
    rows = [line.strip("|").rsplit(" | ", 2) for line in PAGE.splitlines() if line.startswith("| ")]
    return sorted({name for row in rows if len(row) == 3 for name in re.findall(r"`([^`]+)`", row[2])})


def is_there(name: str) -> bool:
    if name in CASES or name.rstrip("/") in TESTS:
        return True
    if name.endswith(("*", "/")):
        return any(case.startswith(name.rstrip("*")) for case in CASES)
    if re.fullmatch(r"test_\w+", name):
        return name in FUNCTIONS
    numbered = re.search(r"-\d+b?$", name) is not None and any(case.startswith(f"{name}-") for case in CASES)
    return numbered or any(path.endswith(f"/{name}") for path in TESTS)


@pytest.mark.parametrize("name", proofs())
def test_each_proof_is_there(name: str) -> None:
    assert is_there(name), f"docs/compatibility.md names {name}, which is neither a test nor a recorded case"


def test_what_is_not_there_is_told() -> None:
    assert not is_there("trio/oac-00-never-recorded")
    assert not is_there("tests/apply/test_missing.py")


def test_every_row_has_a_proof_unless_it_was_dropped() -> None:
    bare = [
        line
        for line in PAGE.splitlines()
        if re.match(r"\| .*\| *-? *\|$", line) and len(line.split(" | ")) == 3 and "| dropped" not in line
    ]

    assert [] == bare


@pytest.mark.parametrize("name", [name for name in DOORS if name not in WITHOUT_FLAGS])
def test_each_flag_of_a_door_has_a_place_in_its_section(name: str) -> None:
    told = section_of(name)

    assert set() == flags([sys.executable, "-c", f"from agent.cli.main import main; main(['--help'], {name!r})"]) - told


@pytest.mark.parametrize("name", [name for name in DOORS if name not in WITHOUT_FLAGS and name != "kolla_start"])
def test_each_flag_of_the_old_tool_has_a_place_in_its_section(name: str) -> None:
    programs = install.directory("peers")
    require(programs, "needs the tools that are replaced: .ci/python -m tests.tools install")
    assert programs
    command = [str(programs / name)]
    if name == "kolla_set_configs":
        [script] = programs.parent.glob("lib/*/site-packages/kolla/docker/base/set_configs.py")
        command = [str(programs / "python"), str(script)]

    assert set() == flags([*command, "--help"]) - section_of(name)


def section_of(name: str) -> set[str]:
    """The flags that the section of a command names, those of a group in one pair of backticks too."""
    [body] = [body for title, body in SECTIONS.items() if f"`{name}`" in title]
    return {flag for quoted in re.findall(r"`([^`]+)`", body) for flag in FLAG.findall(quoted)}


def flags(command: list[str]) -> set[str]:
    """What --help lists: the flags at the beginning of a line, and those in the usage."""
    asked = subprocess.run(
        command,
        env={"PYTHONPATH": str(CHECKOUT), "PATH": "/usr/bin:/bin", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=True,
    )
    usage, *rest = asked.stdout.split("\n\n")
    lines = [re.split(r" {2,}(?=[^-\s])", line.strip())[0] for part in rest for line in part.splitlines()]
    found = {flag for text in (usage, *(line for line in lines if line.startswith("-"))) for flag in FLAG.findall(text)}
    return found - {"-h", "--help"}
