"""`agent hook GROUP` case by case: what goes in, what a recording tool saw, what came out, what lies on the disk.

A case is a file of tests/golden/cases. `{root}` stands for the guest's root in every text of it; files are named below
that root, null for one that must not be there; {"repeat": text, "times": n} is a long text. An expected text may also
be an object of claims: starts, ends, has, lacks, shorter_than. `{root}/bin/record` writes what it sees to `{root}/seen`
and prints what `{root}/reply` holds. Nothing may be left running, but for a case that `leaves_a_service`.
"""

import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.process.guest import MARK, marked
from tests.waiting import until

CASES = Path(__file__).parent / "cases"
LONGEST_S = 20.0

RECORDER = """#!{python} -IS
import json, os, sys
root = {root!r}
seen = {{"argv": sys.argv[1:], "cwd": os.getcwd(), "env": dict(os.environ), "stdin": sys.stdin.read()}}
json.dump(seen, open(root + "/seen", "w"))
if os.path.exists(root + "/reply"):
    print(open(root + "/reply").read())
"""


@pytest.mark.parametrize("path", sorted(CASES.glob("*.json")), ids=lambda path: path.stem)
def test_hook(path: Path, root: Path, agent_command: list[str], environment: dict[str, str]) -> None:
    case = filled(json.loads(path.read_text("utf-8")), str(root))
    recorder = RECORDER.format(python=sys.executable, root=str(root))
    for name, file in {"bin/record": {"content": recorder, "mode": "0755"}, **case.get("files", {})}.items():
        place(root / name, file)
    said = case["stdin"] if "stdin" in case else json.dumps(case["deployment"])

    answered = subprocess.run(
        [*agent_command, "--root", str(root), *case.get("flags", []), "hook", case["group"]],
        env={**environment, **case.get("environment", {}), MARK: str(root)},
        input=said.encode(),
        capture_output=True,
        timeout=LONGEST_S,
        check=False,
    )

    assert (0, b"") == (answered.returncode, answered.stderr)
    expected = case["expected"]
    outcome = json.loads(answered.stdout)
    assert set(expected["outcome"]) == set(outcome)
    for name, value in expected["outcome"].items():
        compare(value, outcome[name], name)
    if "seen" in expected:
        compare_seen(expected["seen"], json.loads((root / "seen").read_text("utf-8")))
    for name, file in expected.get("files", {}).items():
        compare_file(file, root / name)
    if case.get("leaves_a_service"):
        for pid in marked(MARK, str(root)):
            os.kill(pid, signal.SIGKILL)
    until(lambda: not marked(MARK, str(root)), "everything to have ended")


def filled(value: Any, root: str) -> Any:
    """The case with its root in place and its long texts at full length."""
    if isinstance(value, str):
        return value.replace("{root}", root)
    if isinstance(value, list):
        return [filled(element, root) for element in value]
    if isinstance(value, dict) and set(value) == {"repeat", "times"}:
        return value["repeat"] * value["times"]
    if isinstance(value, dict):
        return {filled(key, root): filled(element, root) for key, element in value.items()}
    return value


def place(path: Path, file: dict[str, str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(file["content"], "utf-8")
    path.chmod(int(file.get("mode", "0644"), 8))


def compare(expected: Any, actual: Any, what: str) -> None:
    if not isinstance(expected, dict) or not isinstance(actual, str):
        assert expected == actual, what
        return
    assert actual.startswith(expected.get("starts", "")), what
    assert actual.endswith(expected.get("ends", "")), what
    assert [] == [part for part in expected.get("has", []) if part not in actual], what
    assert [] == [part for part in expected.get("lacks", []) if part in actual], what
    assert len(actual) < expected.get("shorter_than", sys.maxsize), what


def compare_seen(expected: dict[str, Any], seen: dict[str, Any]) -> None:
    for name in expected.keys() & {"argv", "cwd"}:
        assert expected[name] == seen[name], name
    for name, value in expected.get("env", {}).items():
        assert value == seen["env"].get(name), name
    if "stdin" in expected:
        assert expected["stdin"] == json.loads(seen["stdin"])


def compare_file(expected: dict[str, str] | None, path: Path) -> None:
    if expected is None:
        assert not path.exists(), path
        return
    assert expected["content"] == path.read_text("utf-8")
    if "mode" in expected:
        assert int(expected["mode"], 8) == stat.S_IMODE(path.stat().st_mode)


def test_every_case_says_what_it_is_about() -> None:
    assert [] == [path for path in sorted(CASES.glob("*.json")) if not json.loads(path.read_text("utf-8"))["about"]]
