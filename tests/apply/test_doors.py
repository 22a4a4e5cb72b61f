"""os-apply-config through its command line, with an empty PATH and in the C locale."""

import json
import signal
import stat
import subprocess
from pathlib import Path

import pytest

from agent.tree import parent_of
from tests.apply.conftest import Door, script
from tests.waiting import LONGEST_S, until

jinja2 = pytest.importorskip("jinja2")


def tree(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name.replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def metadata(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def paths(tmp_path: Path) -> tuple[object, ...]:
    return ("-t", tmp_path / "t", "-o", tmp_path / "out", "-m", tmp_path / "m.json")


def test_the_older_name_is_the_same_program(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", f="{{a}}")
    metadata(tmp_path / "m.json", {"a": 1})

    answer = door("os-config-applier", *paths(tmp_path))

    assert 0 == answer.returncode
    assert "1" == (tmp_path / "out/f").read_text()
    assert ["writing", "success"] == [line.split("] ")[2].split()[0] for line in answer.stderr.splitlines()]
    assert "" == answer.stdout


def test_metadata_given_again_adds_to_what_was_given(tmp_path: Path, door: Door) -> None:
    one, two = metadata(tmp_path / "1", {"a": 1, "b": 1}), metadata(tmp_path / "2", {"b": 2})

    assert "1\n" == door("os-apply-config", "-m", one, "-m", two, "--key", "a").stdout
    assert "2\n" == door("os-apply-config", "-m", one, "-m", two, "--key", "b").stdout


def test_check_and_diff_write_nothing_and_say_what_differs(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", f="{{a}}\n", g="same")
    tree(tmp_path / "out", f="0\n", g="same")
    metadata(tmp_path / "m.json", {"a": 1})

    check = door("os-apply-config", *paths(tmp_path), "--check")
    shown = door("os-apply-config", *paths(tmp_path), "--diff")
    listed = door("os-apply-config", *paths(tmp_path), "--check", "--json")

    assert (1, 0) == (check.returncode, shown.returncode)
    assert f"changed    {tmp_path}/out/f (content)\nunchanged  {tmp_path}/out/g\n" == check.stdout
    assert "-0\n+1\n" in shown.stdout
    assert {str(tmp_path / "out/f"): "changed", str(tmp_path / "out/g"): "unchanged"} == json.loads(listed.stdout)
    assert "0\n" == (tmp_path / "out/f").read_text()

    door("os-apply-config", *paths(tmp_path))

    assert 0 == door("os-apply-config", *paths(tmp_path), "--check").returncode


def test_check_of_what_cannot_be_applied_is_2(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", f="{{#a}}")
    metadata(tmp_path / "m.json", {})

    assert 2 == door("os-apply-config", *paths(tmp_path), "--check").returncode


@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("mode: 600\n", "out of range"),
        ("mode: '0600'\n", "not numeric"),
        ("owner: nobody-of-this-name\n", "not found in passwd"),
        ("group: 4294967299\n", "not found in group"),
        ("owner: true\n", "must be a string or int"),
        ("allow_empty: 1\n", "requires Boolean"),
        ("color: red\n", "unrecognised file control key 'color'"),
        ("- mode\n", "not a dict"),
        ("a: [\n", "nor YAML"),
    ],
)
def test_a_control_file_at_fault_stops_everything(tmp_path: Path, door: Door, control: str, said: str) -> None:
    tree(tmp_path / "t", a="x", f="x", f__oac=control)
    metadata(tmp_path / "m.json", {})

    answer = door("os-apply-config", *paths(tmp_path))

    assert 1 == answer.returncode
    assert said in answer.stderr
    assert "f.oac" in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_program_as_template_may_print_what_is_no_text(tmp_path: Path, door: Door) -> None:
    script(tmp_path / "t/f", "printf '\\377'")
    metadata(tmp_path / "m.json", {})

    assert 0 == door("os-apply-config", *paths(tmp_path)).returncode
    assert b"\xff" == (tmp_path / "out/f").read_bytes()


def test_a_program_that_fails_shows_what_it_said(tmp_path: Path, door: Door) -> None:
    script(tmp_path / "t/f", "echo out; echo err >&2; exit 3")
    metadata(tmp_path / "m.json", {})

    answer = door("os-apply-config", *paths(tmp_path))

    assert 1 == answer.returncode
    assert "config script failed" in answer.stderr
    assert "out\nerr\n" in answer.stderr


def test_a_template_whose_validation_refuses_it_changes_nothing(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", a="new", b="{{a}}\n", b__oac="validate: [/bin/grep, -q, good, '%s']\n")
    statuses = []

    for value in ("bad", "good"):
        metadata(tmp_path / "m.json", {"a": value})
        answer = door("os-apply-config", *paths(tmp_path))
        statuses.append((answer.returncode, sorted(path.name for path in (tmp_path / "out").rglob("*"))))

    assert [(1, []), (0, ["a", "b"])] == statuses


def test_many_programs_need_few_descriptors(tmp_path: Path, doors: Path) -> None:
    for number in range(40):
        script(tmp_path / f"t/{number}", "cat")
    metadata(tmp_path / "m.json", {})
    command = [str(part) for part in (doors / "os-apply-config", *paths(tmp_path))]

    answer = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 32; exec "$@"', "-", *command], capture_output=True, text=True, check=False
    )

    assert (0, 40) == (answer.returncode, len(list((tmp_path / "out").iterdir()))), answer.stderr


def test_a_partial_comes_from_the_working_directory(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", f="{{> part}}")
    tree(tmp_path, part__mustache="p={{a}}")
    metadata(tmp_path / "m.json", {"a": 1})

    door("os-apply-config", *paths(tmp_path))

    assert "p=1" == (tmp_path / "out/f").read_text()


def test_an_empty_key_prints_nothing_and_writes_nothing(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", f="x")
    metadata(tmp_path / "m.json", {"a": 1})

    assert 1 == door("os-apply-config", *paths(tmp_path), "--key", "").returncode
    assert not (tmp_path / "out").exists()


def test_a_failing_key_does_not_tell_its_value(tmp_path: Path, door: Door) -> None:
    metadata(tmp_path / "m.json", {"password": "top secret!"})

    answer = door("os-apply-config", "-m", tmp_path / "m.json", "--key", "password")

    assert (1, "") == (answer.returncode, answer.stdout)
    assert "secret" not in answer.stderr


def test_an_old_list_file_is_tried_when_the_usual_one_is_empty(tmp_path: Path, door: Door) -> None:
    empty = metadata(tmp_path / "list", [])

    answer = door("os-apply-config", "--key", "a", "--key-default", "d", OS_CONFIG_FILES_PATH=empty)

    assert "d\n" == answer.stdout
    assert "DEPRECATED" in answer.stderr


def test_sigterm_ends_a_template_that_hangs_and_leaves_nothing(tmp_path: Path, doors: Path) -> None:
    script(tmp_path / "t/f", f"echo $$ > {tmp_path}/pid; exec /bin/sleep 600")
    metadata(tmp_path / "m.json", {})
    running = subprocess.Popen(
        [doors / "os-apply-config", *map(str, paths(tmp_path))], stderr=subprocess.DEVNULL, env={"PATH": "/bin"}
    )
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "the template to begin")

    running.terminate()

    assert -signal.SIGTERM == running.wait(LONGEST_S)
    assert not parent_of(int((tmp_path / "pid").read_text()))
    assert not (tmp_path / "out").exists()


# ---------------------------------------------------------------------------------------------- jinja2


def test_a_j2_template_is_strict_and_writes_other_than_text_as_json(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", f__j2="{% for k, v in o | dictsort %}{{k}}={{v}}\n{% endfor %}{{b}} {{n}}.{{o.items}}\n")
    tree(tmp_path / "t", f__j2__oac="mode: 0600\n")
    metadata(tmp_path / "m.json", {"o": {"x": [1, None], "items": "mine"}, "b": True, "n": None})

    answer = door("os-apply-config", *paths(tmp_path))

    assert (0, "items=mine\nx=[1, null]\ntrue .mine\n") == (answer.returncode, (tmp_path / "out/f").read_text())
    assert 0o600 == stat.S_IMODE((tmp_path / "out/f").stat().st_mode)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{{ gone }}", "'gone' is undefined"),
        ("{{ o.items }}", "items"),
        ("a\n{% if %}", "line 2"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ 'x' * 2000000000 }}", "memory"),
        ("{% include '/etc/passwd' %}", "loader"),
    ],
)
def test_a_j2_template_at_fault_stops_everything(tmp_path: Path, door: Door, text: str, said: str) -> None:
    tree(tmp_path / "t", a="x", f__j2=text)
    metadata(tmp_path / "m.json", {"o": {}})

    answer = door("os-apply-config", *paths(tmp_path))

    assert 1 == answer.returncode
    assert "f.j2" in answer.stderr
    assert said in answer.stderr
    assert "Traceback" not in answer.stderr
    assert not (tmp_path / "out").exists()


def test_a_j2_template_without_an_end_is_ended() -> None:
    from agent.apply import jinja
    from agent.errors import ApplyError

    loop = "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}"

    with pytest.raises(ApplyError, match=r"template second: not done after 5 s"):
        jinja.render([jinja.Text("first", "x"), jinja.Text("second", loop)], {}, 5.0)


def test_two_templates_for_one_file_are_refused(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", f="x", f__j2="y")
    metadata(tmp_path / "m.json", {})

    answer = door("os-apply-config", *paths(tmp_path))

    assert 1 == answer.returncode
    assert "declared twice" in answer.stderr


def test_unchanged_files_are_not_touched(tmp_path: Path, door: Door) -> None:
    tree(tmp_path / "t", f="{{a}}")
    metadata(tmp_path / "m.json", {"a": 1})
    door("os-apply-config", *paths(tmp_path))
    before = (tmp_path / "out/f").stat()

    door("os-apply-config", *paths(tmp_path))

    after = (tmp_path / "out/f").stat()
    assert (before.st_ino, before.st_mtime_ns, before.st_ctime_ns) == (
        after.st_ino,
        after.st_mtime_ns,
        after.st_ctime_ns,
    )
