"""What every test may use: a scratch root, the agent's command line, and skips that cannot be overlooked."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.waiting import LONGEST_S

CHECKOUT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() not in {"", "0", "false"}

set_hypothesis_home_dir(CHECKOUT / ".cache/hypothesis")
# How long an example takes is the machine's affair, and how busy that is.
AT_LEISURE = {"deadline": None, "suppress_health_check": [hypothesis.HealthCheck.too_slow]}
hypothesis.settings.register_profile(
    "dev",
    max_examples=100,
    **AT_LEISURE,
    database=DirectoryBasedExampleDatabase(CHECKOUT / ".cache/hypothesis/examples"),
)
# A red build must be red again tomorrow: no chance, and no memory of other runs.
hypothesis.settings.register_profile("ci", max_examples=300, derandomize=True, database=None, **AT_LEISURE)
hypothesis.settings.load_profile("ci" if IN_CI else "dev")


def require(condition: object, reason: str) -> None:
    """Go on if `condition` holds; otherwise skip, or fail where CI is set: there, everything must be present."""
    if condition:
        return
    if IN_CI:
        pytest.fail(f"missing in CI: {reason}", pytrace=False)
    pytest.skip(reason, allow_module_level=True)


def need(*tools: str) -> None:
    """Require these programs on PATH."""
    for tool in tools:
        require(shutil.which(tool), f"needs {tool} on PATH")


def install(directory: Path, *names: str) -> Path:
    """The agent of this checkout as a program in `directory`, with links of these old names; needs no environment."""
    program = directory / "agent"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n"
        "from agent.cli.main import entry\nentry()\n"
    )
    program.chmod(0o755)
    for name in names:
        (directory / name).symlink_to(program)
    return program


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty guest file system, for --root."""
    path = tmp_path / "root"
    path.mkdir()
    return path


@pytest.fixture(scope="session")
def agent_command() -> list[str]:
    return [sys.executable, "-m", "agent"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The whole environment of a child: PATH as it is, the checkout importable, nothing else inherited."""
    return {
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "PATH": os.environ.get("PATH", os.defpath),
        "PYTHONPATH": str(CHECKOUT),
    }


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A private CA, and a certificate of it for 127.0.0.1 with its key."""
    need("openssl")
    directory = tmp_path_factory.mktemp("ca")
    (directory / "names").write_text("subjectAltName = IP:127.0.0.1\nauthorityKeyIdentifier = keyid\n")
    for command in (
        "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=ca -addext keyUsage=keyCertSign",
        "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1",
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out server.pem",
    ):
        subprocess.run(["openssl", *command.split()], cwd=directory, check=True, capture_output=True, timeout=LONGEST_S)
    return directory


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name what was not proven here, in a place where nobody looks past it."""
    skipped = terminalreporter.stats.get("skipped", [])
    reasons = [_reason(report) for report in skipped]
    if not reasons:
        return
    terminalreporter.section("NOT TESTED HERE (fails in CI)", yellow=True, bold=True)
    for reason in dict.fromkeys(reasons):
        terminalreporter.line(f"{reasons.count(reason):4} x {reason}", yellow=True)


def _reason(report: pytest.TestReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")
