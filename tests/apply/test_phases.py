"""os-refresh-config and dib-run-parts through their command lines."""

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from agent import parts, tree
from tests import hours
from tests.apply.conftest import Door, script
from tests.waiting import LONGEST_S, until


def wait_for(path: Path) -> str:
    return until(lambda: path.exists() and path.read_text().strip(), str(path))


def test_scripts_go_by_number_and_environment_files_by_name(tmp_path: Path, door: Door) -> None:
    for name in ("10-b", "9-a", "1.5", "x", "-3"):
        script(tmp_path / "d" / name, "")
    (tmp_path / "d/5-plain").write_text("")

    listed = door("dib-run-parts", "--list", tmp_path / "d")
    everything = door("dib-run-parts", "--list", tmp_path / "d", RUN_PARTS_REGEX="^[[:alnum:].-]+$")

    assert [f"{tmp_path}/d/{name}" for name in ("-3", "x", "9-a", "10-b")] == listed.stdout.splitlines()
    assert [f"{tmp_path}/d/{name}" for name in ("-3", "x", "1.5", "9-a", "10-b")] == everything.stdout.splitlines()


def test_a_script_that_is_left_out_for_its_name_is_named(tmp_path: Path, door: Door) -> None:
    for name in ("1", "2.sh", ".hidden"):
        script(tmp_path / "d" / name, "")
    (tmp_path / "d/3.txt").write_text("")

    usual = door("dib-run-parts", tmp_path / "d")
    ruled = door("dib-run-parts", tmp_path / "d", RUN_PARTS_REGEX="^1")

    assert (0, 0) == (usual.returncode, ruled.returncode)
    assert [f"Passing over {tmp_path}/d/2.sh"] == re.findall(r"Passing over [^:]+", usual.stderr)
    assert "Passing over" not in ruled.stderr


def test_a_number_longer_than_any_integer_has_its_place(tmp_path: Path) -> None:
    for name in ("9" * 200, "10" + "0" * 200, "2"):
        script(tmp_path / name, "")

    assert ("2", "9" * 200, "10" + "0" * 200) == parts.scripts(str(tmp_path))


def test_an_expression_that_is_none_runs_nothing_and_says_so(tmp_path: Path, door: Door) -> None:
    script(tmp_path / "d/1", "echo ran")

    answer = door("dib-run-parts", tmp_path / "d", RUN_PARTS_REGEX="(")

    assert (1, "") == (answer.returncode, answer.stdout)
    assert "RUN_PARTS_REGEX" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="environment.d is bash's")
def test_environment_files_change_variables_directory_and_umask(tmp_path: Path, door: Door) -> None:
    (tmp_path / "environment.d").mkdir()
    (tmp_path / "environment.d/10-one.bash").write_text(
        "export A=one; umask 027; cd /; f() { echo called; }; export -f f"
    )
    (tmp_path / "environment.d/9-two").write_text('export B="$A two\n3"')
    script(tmp_path / "d/1", '#!/bin/bash\necho "$A,$B,$(umask),$PWD"; f')

    answer = door("dib-run-parts", tmp_path / "d")

    assert (0, "one,one two\n3,0027,/\ncalled\n") == (answer.returncode, answer.stdout)
    assert "+ export A=one" in answer.stderr


@pytest.mark.skipif(not shutil.which("bash"), reason="environment.d is bash's")
def test_an_environment_file_that_fails_ends_the_run(tmp_path: Path, door: Door) -> None:
    (tmp_path / "environment.d").mkdir()
    (tmp_path / "environment.d/1").write_text("exit 9")
    script(tmp_path / "d/1", "echo ran")

    answer = door("dib-run-parts", tmp_path / "d")

    assert (9, "") == (answer.returncode, answer.stdout)


def test_what_cannot_be_run_has_the_status_of_a_shell(tmp_path: Path, door: Door) -> None:
    script(tmp_path / "missing/1", "#!/no/such/interpreter")
    binary = script(tmp_path / "binary/1", "")
    binary.write_bytes(b"\x7fNOT\0ELF")
    plain = script(tmp_path / "plain/1", "")
    plain.write_text("echo without an interpreter line\n")

    assert 127 == door("dib-run-parts", tmp_path / "missing").returncode
    assert 126 == door("dib-run-parts", tmp_path / "binary").returncode
    assert "without an interpreter line\n" == door("dib-run-parts", tmp_path / "plain").stdout


def test_the_table_of_times_names_every_script(tmp_path: Path, door: Door) -> None:
    script(tmp_path / "d/10-a", "")

    told = door("dib-run-parts", tmp_path / "d").stderr

    assert "10-a completed" in told
    assert told.index("--- PROFILING ---") < told.index("Target: d") < told.index("Script    ") < told.index("END PROF")
    assert any(line.split()[-2] == "10-a" and float(line.split()[-1]) >= 0 for line in told.splitlines()[-4:-2])


def test_the_error_handlers_learn_what_failed(tmp_path: Path, door: Door) -> None:
    script(tmp_path / "configure.d/10-a", "exit 7")
    variables = " ".join(f"$OS_REFRESH_CONFIG_FAILED_{name}" for name in ("PHASE", "SCRIPT", "STATUS"))
    script(tmp_path / "error.d/1", f"echo {variables}")

    answer = door("os-refresh-config", "--lockfile", tmp_path / "lock", OS_REFRESH_CONFIG_BASE_DIR=tmp_path)

    assert (1, "configure 10-a 7\n") == (answer.returncode, answer.stdout)
    assert "during configure phase." in answer.stderr
    assert "Aborting..." in answer.stderr


def test_the_time_limit_covers_every_descendant_and_the_error_handlers(tmp_path: Path, door: Door) -> None:
    stray = f"echo $$ > {tmp_path}/pid; touch {tmp_path}/hours/one; exec sleep 600"
    script(tmp_path / "configure.d/1", f"setsid sh -c '{stray}' & sleep 600")
    script(tmp_path / "error.d/1", f"echo handler; touch {tmp_path}/hours/two; sleep 600")

    answer = door(
        "os-refresh-config",
        *("--lockfile", tmp_path / "lock", "--timeout", 60),
        OS_REFRESH_CONFIG_BASE_DIR=tmp_path,
        PATH="/usr/bin:/bin",
        **hours.variables(tmp_path / "hours"),
    )

    assert (1, "handler\n") == (answer.returncode, answer.stdout)
    assert "Timeout reached: 60s" in answer.stderr
    assert not tree.parent_of(int((tmp_path / "pid").read_text()))


def test_what_a_script_left_behind_in_time_is_not_ended_by_a_later_timeout(tmp_path: Path, door: Door) -> None:
    script(tmp_path / "pre-configure.d/1", f"sleep 600 >/dev/null 2>&1 & echo $! > {tmp_path}/pid")
    script(tmp_path / "configure.d/1", f"touch {tmp_path}/hours/one; sleep 600")

    door(
        "os-refresh-config",
        *("--lockfile", tmp_path / "lock", "--timeout", 60),
        OS_REFRESH_CONFIG_BASE_DIR=tmp_path,
        PATH="/usr/bin:/bin",
        **hours.variables(tmp_path / "hours"),
    )
    service = int(wait_for(tmp_path / "pid"))

    os.kill(service, signal.SIGKILL)  # raises ProcessLookupError if it were gone


def test_sigterm_ends_the_scripts_too_and_frees_the_lock(tmp_path: Path, doors: Path) -> None:
    script(tmp_path / "configure.d/1", f"echo $$ > {tmp_path}/pid; sleep 600")
    command = [doors / "os-refresh-config", "--lockfile", tmp_path / "lock"]
    environment = {"PATH": "/usr/bin:/bin", "OS_REFRESH_CONFIG_BASE_DIR": str(tmp_path)}
    running = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    pid = wait_for(tmp_path / "pid")

    busy = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False)
    running.terminate()

    assert (11, True) == (busy.returncode, f"pid=={running.pid}" in busy.stderr)
    assert -signal.SIGTERM == running.wait(LONGEST_S)
    assert not tree.parent_of(int(pid))
    assert "" == (tmp_path / "lock").read_text()


def test_a_phase_that_is_no_directory_fails(tmp_path: Path, door: Door) -> None:
    (tmp_path / "configure.d").write_text("")

    answer = door("os-refresh-config", "--lockfile", tmp_path / "lock", OS_REFRESH_CONFIG_BASE_DIR=tmp_path)

    assert 1 == answer.returncode


def test_a_lock_file_that_cannot_be_made_is_one_line(tmp_path: Path, door: Door) -> None:
    answer = door("os-refresh-config", "--lockfile", tmp_path / "gone/lock")

    assert 1 == answer.returncode
    assert "lock file" in answer.stderr
    assert "Traceback" not in answer.stderr
