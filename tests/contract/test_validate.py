"""`agent validate`: a person looks at a file before a guest does."""

import json
import subprocess
from pathlib import Path

from tests.waiting import LONGEST_S

GOOD = {
    "id": "a",
    "name": "web",
    "group": "script",
    "config": "#!/bin/sh\n",
    "inputs": [],
    "outputs": [],
    "options": {},
}


def validate(
    agent_command: list[str], environment: dict[str, str], root: Path, *files: Path
) -> subprocess.CompletedProcess[str]:
    argv = [*agent_command, "validate", "--root", str(root), *map(str, files)]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, check=False, timeout=LONGEST_S)


def metadata(root: Path, *deployments: object) -> Path:
    path = root / "metadata.json"
    path.write_text(json.dumps({"deployments": deployments}))
    return path


def test_a_file_without_fault_is_called_so(agent_command: list[str], environment: dict[str, str], root: Path) -> None:
    done = validate(agent_command, environment, root, metadata(root, GOOD))

    assert (0, "no fault in the settings and 1 file(s)\n") == (done.returncode, done.stdout)


def test_every_fault_is_named_with_its_place(agent_command: list[str], environment: dict[str, str], root: Path) -> None:
    bad = [
        7,
        {**GOOD, "id": "../x", "group": "nope", "surprise": 1},
        GOOD,
        {**GOOD, "options": {"timeout": "soon"}, "inputs": [{"name": "n", "type": "Text"}]},
    ]

    done = validate(agent_command, environment, root, metadata(root, *bad))

    assert 1 == done.returncode
    for said in (
        "deployments[0] is a number",
        "deployment 0 (web): its id '../x'",
        "surprise is nothing that Heat sends",
        "deployment 2 (web): its option timeout",
        "input 'n' has the type 'Text'",
        "deployment 2 (web): its id 'a' is listed before, in deployment 1",
    ):
        assert said in done.stdout


def test_a_setting_nobody_knows_is_named_with_its_file(
    agent_command: list[str], environment: dict[str, str], root: Path
) -> None:
    directory = root / "etc/os-deploy-agent"
    directory.mkdir(parents=True)
    (directory / "agent.conf").write_text("[DEFAULT]\npoling_interval = 3\n[heat]\nauth_url = http://x/v3\n")

    done = validate(agent_command, environment, root)

    assert 1 == done.returncode
    assert "agent.conf: [DEFAULT] poling_interval is no setting of this agent" in done.stdout


def test_a_file_that_is_no_json_is_named(agent_command: list[str], environment: dict[str, str], root: Path) -> None:
    path = root / "metadata.json"
    path.write_text("<html>")

    done = validate(agent_command, environment, root, path)

    assert 1 == done.returncode
    assert "not JSON" in done.stdout
