"""heat-config-rebuild-deployed: what the metadata lists counts as done, and heat-config leaves it alone."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT
from tests.waiting import LONGEST_S

Door = Callable[[str], "subprocess.CompletedProcess[str]"]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    def call(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", f"import sys; from agent.cli.main import main; sys.exit(main([], {name!r}))"],
            env={
                "PYTHONPATH": str(CHECKOUT),
                "PATH": os.defpath,
                "OS_CONFIG_FILES": str(tmp_path / "metadata.json"),
                "HEAT_SHELL_CONFIG": str(tmp_path / "heat-config"),
                "HEAT_CONFIG_DEPLOYED": str(tmp_path / "deployed"),
            },
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

    return call


def listed(tmp_path: Path, **groups: str) -> None:
    ran = f"#!/bin/sh\ntouch {tmp_path}/ran\n"
    deployments = [{"id": key, "name": key, "group": group, "config": ran} for key, group in groups.items()]
    (tmp_path / "metadata.json").write_text(json.dumps({"deployments": deployments}))
    (tmp_path / "heat-config").write_text(json.dumps(deployments))


def test_what_was_marked_is_not_run(tmp_path: Path, door: Door) -> None:
    listed(tmp_path, web="script")

    rebuilt, deployed = door("heat-config-rebuild-deployed"), door("heat-config")

    assert (0, 0) == (rebuilt.returncode, deployed.returncode), rebuilt.stderr + deployed.stderr
    assert not (tmp_path / "ran").exists()
    assert b"" == (tmp_path / "deployed/web.json").read_bytes()
    assert f"Creating {tmp_path}/deployed/web.json so that deployment will not be re-run" in rebuilt.stdout


def test_groups_that_templates_answer_are_left_out_and_marks_stay_as_they_are(tmp_path: Path, door: Door) -> None:
    listed(tmp_path, templates="os-apply-config", plain="Heat::Ungrouped", done="script")
    (tmp_path / "deployed").mkdir()
    (tmp_path / "deployed/done.json").write_text("{}")

    rebuilt = door("heat-config-rebuild-deployed")

    assert 0 == rebuilt.returncode, rebuilt.stderr
    assert ["done.json"] == sorted(path.name for path in (tmp_path / "deployed").glob("*.json"))
    assert "{}" == (tmp_path / "deployed/done.json").read_text()
    assert 2 == rebuilt.stdout.count("Skipping")


def test_metadata_that_is_no_json_is_one_line(tmp_path: Path, door: Door) -> None:
    (tmp_path / "metadata.json").write_text("{")

    rebuilt = door("heat-config-rebuild-deployed")

    assert 0 != rebuilt.returncode
    assert ["agent:"] == [line.split()[0] for line in rebuilt.stderr.splitlines()]
    assert not (tmp_path / "deployed").exists()
