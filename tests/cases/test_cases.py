"""Every recorded case of the old tools, through our own doors under their old names."""

import ctypes
import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import install
from tests.waiting import LONGEST_S

HERE = Path(__file__).parent

# suite -> the runner's arguments; {agent} is the program, {doors} the directory of the old names
SUITES = {
    "hooks": [
        *("--cases", "cases", "--hook-template", "{agent} hook {{group}}", "--sync-template", "{agent} sync {{group}}"),
        *("--dispatch", "{doors}/heat-config", "--notify", "{doors}/heat-config-notify"),
    ],
    "trio": ["--bin", "{doors}", "-j", "2", "cases", "defects"],
    "cfn": [
        "--cmd",
        "{doors}/{{tool}}",
        "--flavor",
        "want",
        "--jobs",
        "2",
        *sorted(map(str, HERE.glob("cfn/cases/*"))),
    ],
    "kolla": ["--cases", "cases", "--", "{doors}/kolla_set_configs", "--root", "{{root}}"],
}
# cases that show what an old tool does where another case of the same call wants something better
OUTDONE = {
    "trio": ["occ-46-cachedir-parent-missing"],  # defects/occ-24-cachedir-made wants the parent made
    "cfn": ["files-03-unknown-owner"],  # wants the failure and yet the file; everything is validated before any write
}
FAILED = re.compile(r"^FAIL\s+(\S+)", re.MULTILINE)
PASSED = re.compile(r"^(?:total: )?\d+ (?:ok|of \d+ passed|cases, )|pass \d+ of \d+ cases$", re.MULTILINE)


RT_SIGACTION = {"x86_64": 13, "aarch64": 134}


def unignore_internal_signals() -> None:
    """Make ignores the C library's own two signals (32 and 33) in what it starts, and only the kernel can undo that."""
    default = (ctypes.c_ulong * 4)()
    for number in (32, 33):
        ctypes.CDLL(None).syscall(RT_SIGACTION[platform.machine()], number, default, None, 8)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The program as a package would install it, and the doors that it makes itself."""
    directory = tmp_path_factory.mktemp("installed")
    agent, doors = install(directory), directory / "doors"
    subprocess.run([agent, "doors", "install", doors], check=True, timeout=LONGEST_S)
    return {"agent": agent, "doors": doors}


@pytest.mark.parametrize("suite", SUITES)
def test_every_recorded_case_passes(suite: str, installed: dict[str, Path]) -> None:
    arguments = [argument.format(**installed) for argument in SUITES[suite]]

    done = subprocess.run(
        [sys.executable, HERE / "leisure.py", "run_cases.py", *arguments],
        cwd=HERE / suite,
        capture_output=True,
        text=True,
        check=False,
        timeout=1100,
        preexec_fn=unignore_internal_signals,
    )

    assert OUTDONE.get(suite, []) == FAILED.findall(done.stdout), done.stdout[-4000:]
    assert PASSED.search(done.stdout), f"nothing was run: {done.stdout[-500:]}{done.stderr[-500:]}"
    assert (1 if suite in OUTDONE else 0) == done.returncode, done.stderr[-2000:]
