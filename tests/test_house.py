"""The rules of this repository: style, types, arrows, weight, packaging. Each is a test, so green means done."""

import ast
import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

import agent
from tests.conftest import CHECKOUT
from tests.waiting import LONGEST_S

PURE = ("errors", "options", "model", "merge", "plan")
HEAVY = {
    "ansible_runner",
    "asyncio",
    "cryptography",
    "dbus_fast",
    "dbus_next",
    "jinja2",
    "requests",
    "structlog",
    "yaml",
}
# What the distributions of pyproject.toml are called when imported.
DECLARED = HEAVY - {"asyncio"} | {"urllib3", "websocket"}


def succeed(*command: str, cwd: Path = CHECKOUT, **variables: str) -> str:
    """Run a tool that must end with 0; its words are the failure."""
    result = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=600,
        check=False,
    )
    if result.returncode:
        pytest.fail(f"{' '.join(command)} ended with {result.returncode}\n{result.stdout}", pytrace=False)
    return result.stdout


def script(name: str) -> str:
    """A tool of the environment that runs these tests, whatever PATH holds."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def test_ruff_finds_nothing() -> None:
    succeed(script("ruff"), "check", "--quiet")


def test_every_file_is_formatted() -> None:
    succeed(script("ruff"), "format", "--check", "--output-format", "concise")


def test_the_types_hold() -> None:
    succeed(sys.executable, "-m", "mypy", "--no-error-summary", PYTHONPATH=str(CHECKOUT))


def test_the_arrows_point_down() -> None:
    succeed(script("lint-imports"), "--cache-dir", ".cache/import-linter", PYTHONPATH=str(CHECKOUT))


def imports(path: Path) -> Iterator[str]:
    """Yield the top-level name of each import, wherever in the file it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.split(".")[0]


def test_the_core_imports_no_third_party_package() -> None:
    own = sys.stdlib_module_names | {"agent"}

    foreign = {name: set(imports(CHECKOUT / f"agent/{name}.py")) - own for name in PURE}

    assert not any(foreign.values()), foreign


def test_nothing_is_imported_that_is_not_declared() -> None:
    known = sys.stdlib_module_names | {"agent"} | DECLARED

    unknown = {
        str(path.relative_to(CHECKOUT)): names
        for path in sorted((CHECKOUT / "agent").rglob("*.py"))
        if (names := set(imports(path)) - known)
    }

    assert unknown == {}


def test_starting_the_command_loads_nothing_heavy() -> None:
    trace = succeed(sys.executable, "-X", "importtime", "-c", "import agent.cli.main", PYTHONPATH=str(CHECKOUT))

    loaded = {line.rpartition("|")[2].strip().split(".")[0] for line in trace.splitlines()}

    assert "agent" in loaded
    assert set() == loaded & HEAVY


def test_the_locks_name_no_index_and_hash_every_package() -> None:
    for lock in sorted((CHECKOUT / ".ci/locks").glob("*.txt")):
        text = lock.read_text(encoding="utf-8")
        packages = re.findall(r"^[a-z0-9][^\n]*(?:\n[ ]+[^\n]*)*", text, re.MULTILINE)

        assert packages, lock
        assert "://" not in text, lock
        assert [] == [package for package in packages if "==" not in package or "--hash=" not in package]


def test_every_declared_dependency_is_locked() -> None:
    project = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8")
    declared = set(re.findall(r'"([a-zA-Z][\w-]*)>=[\d.]+"', project.partition("[project.scripts]")[0]))

    for lock in ("run.txt", "dev.txt"):
        text = (CHECKOUT / ".ci/locks" / lock).read_text(encoding="utf-8")
        locked = set(re.findall(r"^([\w.-]+)==", text, re.MULTILINE))

        assert set() == declared - locked - {"hatchling"}, lock


@pytest.mark.slow
def test_the_wheel_holds_the_agent_alone_and_runs_anywhere(tmp_path: Path, environment: dict[str, str]) -> None:
    dist, site, elsewhere = tmp_path / "dist", tmp_path / "site", tmp_path / "elsewhere"
    elsewhere.mkdir()

    succeed(sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(dist))
    [wheel] = dist.glob("os_deploy_agent-*.whl")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    succeed(*pip, "install", "--no-index", "--no-deps", "--target", str(site), str(wheel))
    environment["PYTHONPATH"] = str(site)

    assert {"agent", "bin", wheel.name.removesuffix("-py3-none-any.whl") + ".dist-info"} == {
        path.name for path in site.iterdir()
    }
    assert (site / "agent/py.typed").exists()
    for command in ("agent", "os-deploy-agent"):
        answer = subprocess.run(
            [site / "bin" / command, "--version"],
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )
        assert (0, "") == (answer.returncode, answer.stderr)
        assert agent.__version__ in answer.stdout
