"""What completes a command line and what explains it come from the parsers themselves."""

import os
import pty
import re
import select
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from agent.cli import completion, main, man, syntax
from tests.conftest import need
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest
from tests.waiting import LONGEST_S


@pytest.fixture(scope="module")
def commands() -> tuple[syntax.Command, ...]:
    return tuple(syntax.commands())


def completed(line: str, script: Path, environment: dict[str, str]) -> list[str]:
    """What bash offers for the last word of a line."""
    words = line.split(" ")
    quoted = " ".join(shlex.quote(word) for word in words)
    program = (
        f"source {shlex.quote(str(script))}\nCOMP_WORDS=({quoted})\nCOMP_CWORD={len(words) - 1}\n"
        '_agent\nprintf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=True,
    )
    assert not done.stderr
    return done.stdout.split()


@pytest.fixture
def script(tmp_path: Path, commands: tuple[syntax.Command, ...]) -> Path:
    need("bash")
    path = tmp_path / "completion"
    path.write_text("\n".join(completion.bash(commands)) + "\n")
    return path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("agent sta", ["status"]),
        ("agent --onc", ["--once"]),
        ("agent status --", ["--help", "--root", "--log-level", "--json", "--wait"]),
        ("agent --log-level w", ["warning"]),
        ("agent status --log-level ", ["debug", "error", "info", "warning"]),
        ("agent --root / timeline --s", ["--svg"]),
        ("agent completion ", ["bash", "zsh"]),
        ("agent status --root /pro", ["/proc"]),
        ("agent doors in", ["install"]),
    ],
)
def test_bash_offers_what_fits(line: str, offered: list[str], script: Path, environment: dict[str, str]) -> None:
    assert offered == completed(line, script, environment)


def test_bash_offers_every_command(script: Path, environment: dict[str, str]) -> None:
    assert list(main.COMMANDS) == completed("agent ", script, environment)


def test_bash_offers_the_names_of_deployments(
    guest: Guest, endpoint: Endpoint, script: Path, environment: dict[str, str]
) -> None:
    endpoint.serve(endpoint.script("web-1", "#!/bin/sh\n"), endpoint.script("web-2", "#!/bin/sh\n"))
    guest.once()
    program = guest.root / "agent"
    program.write_text(f'#!/bin/sh\nexec {shlex.join(guest.argv())} "$@"\n')
    program.chmod(0o755)
    path = {**guest.environment(), "PATH": f"{guest.root}:{os.environ['PATH']}"}

    assert ["web-1", "web-2"] == completed("agent show we", script, path)


def test_zsh_completes_on_a_terminal(
    tmp_path: Path, environment: dict[str, str], commands: tuple[syntax.Command, ...]
) -> None:
    need("zsh")
    (tmp_path / "_agent").write_text("\n".join(completion.zsh(commands)) + "\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], {**environment, "TERM": "dumb", "PS1": "> ", "ZDOTDIR": str(tmp_path)})
    try:
        os.write(terminal, b"autoload -U compinit; compinit -u -D; source $HOME/_agent; agent() { :; }; echo rea''dy\n")
        _read_until(terminal, b"ready")
        os.write(terminal, b"\x15agent hist\t")
        assert _read_until(terminal, b"agent history")
        os.write(terminal, b"\x15agent status --js\t")
        assert _read_until(terminal, b"agent status --json")
    finally:
        os.close(terminal)
        os.kill(pid, 9)
        os.waitpid(pid, 0)


def _read_until(terminal: int, wanted: bytes) -> bytes:
    said, deadline = b"", time.monotonic() + LONGEST_S
    while wanted not in said:
        left = deadline - time.monotonic()
        assert left > 0, f"waited {LONGEST_S:.0f} s for {wanted!r}, got {said!r}"
        if select.select([terminal], [], [], left)[0]:
            said += os.read(terminal, 4096)
    return said


def test_every_page_of_the_manual_is_formatted_without_a_warning(
    tmp_path: Path, environment: dict[str, str], agent_command: list[str]
) -> None:
    need("man", "groff")
    subprocess.run([*agent_command, "man", str(tmp_path / "man")], env=environment, check=True, timeout=LONGEST_S)
    pages = sorted((tmp_path / "man").iterdir())

    assert {"agent.1", *(f"agent-{name}.1" for name in main.COMMANDS)} == {page.name for page in pages}
    for page in pages:
        done = subprocess.run(
            ["man", "--warnings", "-l", "-Tutf8", str(page)],
            env={**environment, "MANWIDTH": "80"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
        )
        assert (0, "") == (done.returncode, done.stderr), page
        shown = re.sub(".\b|\x1b\\[[0-9;]*m", "", done.stdout)  # bold is struck twice
        assert "\nNAME\n" in shown
        assert "\\" not in shown


def test_the_manual_says_what_help_says(
    commands: tuple[syntax.Command, ...], environment: dict[str, str], agent_command: list[str]
) -> None:
    pages = dict(man.pages())
    for command in (command for command in commands if command.name in ("run", "status", "signal")):
        told = subprocess.run(
            [*agent_command, command.name, "--help"], env=environment, capture_output=True, text=True, timeout=LONGEST_S
        ).stdout
        for option in command.options:
            assert option.flags[-1] in told, command.name
            assert option.flags[-1].replace("-", "\\-") in pages[f"agent-{command.name}.1"]
