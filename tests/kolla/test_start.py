"""kolla_start through its command line: place, prepare, extend, become the command."""

import os
from pathlib import Path

import pytest

from tests.kolla.conftest import Door, entry, lay


@pytest.fixture
def start(door: Door, tmp_path: Path) -> Door:
    """`kolla_start` for a command, with programs of `tmp_path/bin` before those of the system."""
    (tmp_path / "bin").mkdir()

    def call(command: object, *, contained: bool = False, **variables: object) -> object:
        lay(tmp_path / "root", {"command": command, "config_files": [entry("a", "/etc/a")]}, a="1")
        strategy = {"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS", **variables}
        around = ("unshare", "--pid", "--fork", "--mount-proc") if contained else ()
        return door("kolla_start", around=around, PATH=f"{tmp_path / 'bin'}:{os.defpath}", **strategy)

    return call


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


def test_the_files_are_placed_and_the_command_is_become(start: Door, tmp_path: Path) -> None:
    answer = start(f"sh -c 'echo ran; cat {tmp_path}/root/etc/a; exit 7'")

    assert 7 == answer.returncode
    assert ["ran", "1"] == answer.stdout.splitlines()[1:]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a namespace of process ids")
@pytest.mark.parametrize("extension", ["", "export EXTENDED=yes\n"])
def test_the_command_is_the_first_process_of_its_container(start: Door, tmp_path: Path, extension: str) -> None:
    if extension:
        (tmp_path / "bin/kolla_extend_start").write_text(extension)

    answer = start(["sh", "-c", 'echo "pid $$"'], contained=True)

    assert (0, "pid 1") == (answer.returncode, answer.stdout.splitlines()[1])


@pytest.mark.parametrize("value", ["", "anything"])
def test_a_variable_counts_by_being_set_and_reaches_extension_and_command(
    start: Door, tmp_path: Path, value: str
) -> None:
    (tmp_path / "bin/kolla_extend_start").write_text('[[ -n "${KOLLA_BOOTSTRAP+set}" ]] && echo bootstrap\n')

    answer = start(["sh", "-c", 'echo "${KOLLA_BOOTSTRAP-unset}."'], KOLLA_BOOTSTRAP=value)

    assert ["bootstrap", f"{value}."] == [answer.stdout.splitlines()[0], answer.stdout.splitlines()[-1]]


def test_quotes_hold_words_together_and_nothing_is_expanded(start: Door) -> None:
    answer = start("printf <%s> 'a b' $HOME *")

    assert "<a b><$HOME><*>" == answer.stdout.splitlines()[-1]


def test_a_list_is_the_command_word_by_word(start: Door) -> None:
    assert "<a b><c>" == start(["printf", "<%s>", "a b", "c"]).stdout.splitlines()[-1]


def test_no_command_is_started_when_the_files_cannot_be_placed(start: Door) -> None:
    answer = start("echo ran", KOLLA_CONFIG_STRATEGY="NEVER")

    assert (1, "") == (answer.returncode, answer.stdout)


def test_the_extension_is_sourced_and_may_export_and_set_arguments(start: Door, tmp_path: Path) -> None:
    (tmp_path / "bin/kolla_extend_start").write_text('export SEEN="yes $#"\nARGS="--more x"\n')

    answer = start(["sh", "-c", 'echo "$SEEN" "$@"', "sh", "a b"])

    assert "yes 0 a b --more x" == answer.stdout.splitlines()[-1]


def test_the_extension_may_replace_the_command(start: Door, tmp_path: Path) -> None:
    (tmp_path / "bin/kolla_extend_start").write_text('CMD="echo other"\n')

    assert "other" == start("echo one").stdout.splitlines()[-1]


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("false", 1), ("echo $UNSET_NAME", 1)])
def test_the_extension_may_end_it_all(start: Door, tmp_path: Path, script: str, status: int) -> None:
    (tmp_path / "bin/kolla_extend_start").write_text(f"{script}\necho 'not reached'\n")

    answer = start("echo ran")

    assert (status, "") == (answer.returncode, answer.stdout)


@pytest.mark.parametrize("value", ["", "1"])
def test_the_extension_is_skipped_by_a_variable_that_is_set(start: Door, tmp_path: Path, value: str) -> None:
    (tmp_path / "bin/kolla_extend_start").write_text("exit 3\n")

    assert "ran" == start("echo ran", KOLLA_SKIP_EXTEND_START=value).stdout.splitlines()[-1]


def test_certificates_and_projects_come_before_the_extension(start: Door, tmp_path: Path) -> None:
    for name in ("kolla_copy_cacerts", "kolla_install_projects"):
        program(tmp_path / "bin" / name, f"echo {name}")
        program(tmp_path / "bin/sudo", 'shift; exec "$@"')
    (tmp_path / "bin/kolla_extend_start").write_text("echo extended\n")

    answer = start("echo ran")

    said = [line for line in answer.stdout.splitlines() if not line.startswith("Running")]
    assert ["kolla_copy_cacerts", "kolla_install_projects", "extended", "ran"] == said


def test_a_failing_preparation_ends_it(start: Door, tmp_path: Path) -> None:
    program(tmp_path / "bin/kolla_copy_cacerts", "exit 5")
    program(tmp_path / "bin/sudo", 'shift; exec "$@"')

    answer = start("echo ran")

    assert (5, "") == (answer.returncode, answer.stdout)
    assert "kolla_copy_cacerts ended with 5" in answer.stderr


@pytest.mark.parametrize(("command", "status"), [("no-such-program-9", 127), ("/etc", 126), ("'", 2), ("", 2)])
def test_a_command_that_cannot_be_started_has_a_shells_status(start: Door, command: str, status: int) -> None:
    answer = start(command)

    assert status == answer.returncode
    assert "ERROR" in answer.stderr
