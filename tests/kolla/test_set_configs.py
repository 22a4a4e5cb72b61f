"""kolla_set_configs through its command line, on guests below a directory."""

import json
import os
import re
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from agent.apply import kolla, kolla_document, scene_act
from agent.errors import ApplyError
from tests.kolla.conftest import Door, entry, lay, snapshot
from tests.waiting import LONGEST_S


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return lay(tmp_path / "root")


def lines(answer: "subprocess.CompletedProcess[str]", level: str) -> list[str]:
    start = f"{level}:kolla_set_configs:"
    return [line.removeprefix(start) for line in answer.stderr.splitlines() if line.startswith(start)]


def test_a_second_run_touches_nothing(root: Path, always: Door) -> None:
    lay(root, {"command": "c", "config_files": [entry("a", "/etc/a"), entry("d", "/etc/d")]}, a="1", d__x="2")
    always()
    before = snapshot(root)

    answer = always()

    assert (0, "") == (answer.returncode, answer.stderr)
    assert before == snapshot(root)


@pytest.mark.parametrize(
    "relying",
    [
        {"config_files": [entry("a", "/etc/d/x"), entry("a", "/etc/d")]},
        {"config_files": [entry("a", "/etc/d")], "directories": [{"path": "/etc/d", "owner": "me", "perm": "0700"}]},
    ],
    ids=["a-file-behind-it", "a-declared-directory"],
)
def test_a_link_that_an_earlier_entry_relies_on_is_not_replaced(
    root: Path, always: Door, relying: dict[str, object]
) -> None:
    (root / "etc/d").symlink_to("/var")
    lay(root, {"command": "c", **relying}, a="1")
    before = snapshot(root)

    answer = always()

    assert 0 != answer.returncode
    assert "/etc/d is a link that an earlier entry relies on" in answer.stderr
    assert before == snapshot(root)


def test_the_original_is_back_after_any_number_of_runs(root: Path, always: Door) -> None:
    (root / "etc/a").write_text("mine")
    (root / "etc/a").chmod(0o640)
    lay(root, {"command": "c", "config_files": [entry("a", "/etc/a")]}, a="new")
    for _ in range(4):
        always()

    lay(root, {"command": "c"})
    always()

    assert "mine" == (root / "etc/a").read_text()
    assert 0o640 == stat.S_IMODE((root / "etc/a").stat().st_mode)
    assert {} == json.loads((root / "etc/kolla/defaults/state").read_text())
    assert 0 == always("--check").returncode


def test_what_a_wildcard_placed_goes_with_its_entry(root: Path, always: Door) -> None:
    (root / "etc/x").mkdir()
    (root / "etc/x/a.conf").write_text("mine")
    lay(root, {"command": "c", "config_files": [entry("*.conf", "/etc/x/")]}, **{"a.conf": "A", "b.conf": "B"})
    always()

    lay(root, {"command": "c"})
    always()

    assert ["a.conf"] == os.listdir(root / "etc/x")
    assert "mine" == (root / "etc/x/a.conf").read_text()


def test_what_grew_in_a_placed_directory_stays_when_the_entry_goes(root: Path, always: Door) -> None:
    lay(root, {"command": "c", "config_files": [entry("d", "/etc/d")]}, d__a="A", d__s__b="B")
    always()
    (root / "etc/d/grown").write_text("later")

    lay(root, {"command": "c"})
    always()

    assert ["grown"] == os.listdir(root / "etc/d")


def test_a_directory_that_was_a_copy_and_is_declared_now_stays(root: Path, always: Door) -> None:
    lay(root, {"command": "c", "config_files": [entry("d", "/etc/d")]}, d__a="A")
    always()

    lay(root, {"command": "c", "directories": [{"path": "/etc/d", "owner": "me", "perm": "0700"}]})
    always()

    assert ([], 0) == (os.listdir(root / "etc/d"), always("--check").returncode)


def test_a_file_that_somebody_changed_stays_and_is_told_of(root: Path, always: Door) -> None:
    lay(root, {"command": "c", "config_files": [entry("a", "/etc/a")]}, a="new")
    always()
    (root / "etc/a").write_text("edited")

    lay(root, {"command": "c"})
    answer = always()

    assert "edited" == (root / "etc/a").read_text()
    assert ["/etc/a stays as it is: somebody changed it after it was placed"] == lines(answer, "WARNING")
    assert 0 == always("--check").returncode


def test_a_replaced_directory_is_back_with_all_that_was_in_it(root: Path, always: Door) -> None:
    (root / "etc/d/deep").mkdir(parents=True)
    (root / "etc/d/deep/mine").write_text("mine")
    (root / "etc/d/link").symlink_to("deep/mine")
    lay(root, {"command": "c", "config_files": [entry("d", "/etc/d")]}, d__a="A")
    always()
    assert ["a"] == os.listdir(root / "etc/d")

    lay(root, {"command": "c"})
    always()

    assert ["deep", "link"] == sorted(os.listdir(root / "etc/d"))
    assert "mine" == (root / "etc/d/link").read_text()


def test_a_merge_is_taken_back_file_by_file(root: Path, always: Door) -> None:
    (root / "etc/d").mkdir()
    (root / "etc/d/a").write_text("mine")
    (root / "etc/d/own").write_text("own")
    lay(root, {"command": "c", "config_files": [entry("d", "/etc/d", merge=True)]}, d__a="A", d__s__b="B")
    always()
    always()

    lay(root, {"command": "c"})
    always()

    assert ["a", "own"] == sorted(os.listdir(root / "etc/d"))
    assert "mine" == (root / "etc/d/a").read_text()


def test_the_state_of_kollas_own_tool_is_taken_over(root: Path, always: Door) -> None:
    saved = root / "etc/kolla/defaults/etc/a"
    saved.parent.mkdir(parents=True)
    saved.write_text("mine")
    swapped = {"source": "/etc/kolla/defaults/etc/a", "preserve_properties": True, "dest": "/etc/a"}
    made = {"source": "/etc/b", "preserve_properties": True, "dest": None}
    (root / "etc/kolla/defaults/state").write_text(json.dumps({"/etc/a": swapped, "/etc/b": made}))
    (root / "etc/a").write_text("theirs")
    (root / "etc/b").write_text("theirs")
    lay(root, {"command": "c"})

    always()

    assert "mine" == (root / "etc/a").read_text()
    assert not (root / "etc/b").exists()


@pytest.mark.parametrize(
    "late",
    [
        {"permissions": [{"path": "/etc", "owner": "nobody9"}]},
        {"files": [{"path": "/nowhere/a", "owner": "me", "perm": "0600"}]},
        {"directories": [{"path": "/etc/passwd", "owner": "me", "perm": "0700"}]},
        {"config_files": [entry("a", "/etc/a"), entry("missing", "/etc/b")]},
        {"config_files": [entry("a", "/etc/a"), entry("?", "/etc/b")]},
        {"config_files": [entry("a", "/etc/a"), entry("a", "/var")]},
        {"config_files": [entry("a", "/etc/a"), entry("a", "/etc/passwd/a")]},
        {"config_files": [entry("a", "/etc/a"), {**entry("", "/var/lib/kolla/config_files/in")}]},
    ],
)
def test_what_cannot_be_done_is_found_before_anything_is_written(
    root: Path, always: Door, late: dict[str, object]
) -> None:
    lay(root, {"command": "c", "config_files": [entry("a", "/etc/a")], **late}, a="1", b="2")
    before = snapshot(root)

    answer = always()

    assert answer.returncode in {1, 2}
    assert 1 == len(lines(answer, "ERROR"))
    assert before == snapshot(root)


def test_a_failure_half_way_leaves_everything_as_it_was(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (root / "etc/old").mkdir()
    (root / "etc/old/in").write_text("in")
    (root / "etc/a").write_text("mine")
    (root / "etc/log").write_text("log")
    (root / "etc/log").chmod(0o644)
    raw = {
        "command": "c",
        "config_files": [entry("d", "/etc/old"), entry("a", "/etc/a"), entry("a", "/new/deep/b")],
        "permissions": [{"path": "/etc/log", "perm": "0600"}],
    }
    lay(root, raw, a="1", d__x="2")
    plan = kolla.plan(kolla_document.document(raw), root)  # type: ignore[arg-type]
    before = {name: seen[:4] for name, seen in snapshot(root).items()}
    rename, done = os.rename, []

    def failing(source: object, target: object, **more: object) -> None:
        done.append(target)
        if str(target).endswith("/run_command"):
            raise OSError(28, "No space left on device")
        rename(source, target, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(ApplyError, match="No space left"):
        scene_act.apply(plan)

    assert done
    assert before == {name: seen[:4] for name, seen in snapshot(root).items()}


def test_a_secret_is_never_readable_by_others(root: Path, always: Door) -> None:
    lay(root, {"command": "c", "config_files": [entry("a", "/etc/secret/a")]}, a="s" * 30_000_000)
    (root / "var/lib/kolla/config_files/a").chmod(0o644)
    seen, stop = set(), threading.Event()

    def watch() -> None:
        while not stop.is_set():
            for path in (root / "etc").glob("secret/*"):
                try:
                    seen.add(stat.S_IMODE(path.lstat().st_mode))
                except FileNotFoundError:
                    continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    always()
    stop.set()
    watcher.join()

    assert {0o600} == seen


def test_links_in_the_way_are_replaced_and_never_followed(root: Path, always: Door) -> None:
    (root / "srv").mkdir()
    (root / "srv/kept").write_text("kept")
    (root / "etc/l").symlink_to("/srv")
    (root / "etc/f").symlink_to("/srv/kept")
    document = {
        "command": "c",
        "config_files": [entry("d", "/etc/l"), entry("a", "/etc/f")],
        "permissions": [{"path": "/etc", "perm": "0700", "recurse": True}],
    }
    lay(root, document, d__a="A", a="1")

    always()

    assert ["a"] == os.listdir(root / "etc/l")
    assert ["kept"] == os.listdir(root / "srv")
    assert 0o644 == stat.S_IMODE((root / "srv/kept").stat().st_mode)


def test_preserved_properties_are_all_of_the_mode(root: Path, always: Door) -> None:
    document = {"command": "c", "config_files": [{**entry("a", "/etc/a"), "preserve_properties": True}]}
    lay(root, document, a="1")
    (root / kolla.CONFIG_FILES.lstrip("/") / "a").chmod(0o6711)

    always()

    assert 0o6711 == stat.S_IMODE((root / "etc/a").stat().st_mode)


def test_a_declared_directory_may_be_a_link_to_one(root: Path, always: Door) -> None:
    (root / "srv/real").mkdir(parents=True)
    (root / "srv/link").symlink_to("/srv/real")
    lay(root, {"command": "c", "directories": [{"path": "/srv/link", "owner": "me", "perm": "0700"}]})

    answer = always()

    assert 0 == answer.returncode
    assert ["/srv/link is a link to a directory; owner and mode are set through none"] == lines(answer, "WARNING")
    assert (0, 0o755) == ((root / "srv/real").stat().st_uid, stat.S_IMODE((root / "srv/real").stat().st_mode))
    assert (root / "srv/link").is_symlink()


def test_a_declared_directory_is_not_made_behind_a_link_to_nowhere(root: Path, always: Door) -> None:
    (root / "etc/link").symlink_to("/nowhere")
    lay(root, {"command": "c", "directories": [{"path": "/etc/link", "owner": "me", "perm": "0700"}]})

    answer = always()

    assert 2 == answer.returncode
    assert "making the directory /etc/link: a link is there" in answer.stderr
    assert not (root / "nowhere").exists()


def test_links_mean_what_they_mean_in_the_guest(root: Path, always: Door, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (root / "real").mkdir()
    (root / "etc/dir").symlink_to("/real")
    (root / "etc/up").symlink_to("../../../../outside")
    lay(root, {"command": "c", "config_files": [entry("a", "/etc/dir/a"), entry("a", "/etc/up/a")]}, a="1")

    always()

    assert "1" == (root / "real/a").read_text()
    assert [] == os.listdir(tmp_path / "outside")
    assert "1" == (root / "outside/a").read_text()


def test_permissions_change_a_file_in_place(root: Path, always: Door) -> None:
    log = root / "log"
    log.write_text("x")
    inode = log.stat().st_ino
    lay(root, {"command": "c", "permissions": [{"path": "/log", "owner": "me", "perm": "0600"}]})

    always()

    assert (inode, 0o600) == (log.stat().st_ino, stat.S_IMODE(log.stat().st_mode))


def test_any_exclude_pattern_spares_a_path(root: Path, always: Door) -> None:
    for name in ("one", "two", "three"):
        (root / "d").mkdir(exist_ok=True)
        (root / "d" / name).write_text("")
        (root / "d" / name).chmod(0o644)
    exclude = ["one$", "two$"]
    lay(root, {"command": "c", "permissions": [{"path": "/d", "perm": "0600", "recurse": True, "exclude": exclude}]})

    always()

    modes = {name: stat.S_IMODE((root / "d" / name).stat().st_mode) for name in ("one", "two", "three")}
    assert {"one": 0o644, "two": 0o644, "three": 0o600} == modes


def test_check_names_what_differs_and_writes_nothing(root: Path, always: Door) -> None:
    lay(root, {"command": "c", "config_files": [entry("a", "/etc/a"), entry("b", "/etc/b")]}, a="1", b="2")
    always()
    lay(root, {"command": "d", "config_files": [entry("a", "/etc/a")]}, a="3")
    before = snapshot(root)

    answer = always("--check")

    assert 1 == answer.returncode
    words = [line.split(":")[0] for line in lines(answer, "ERROR")]
    assert ["ConfigFileCommandDiffers", "StateMismatch", "ConfigFileBadState"] == words
    assert before == snapshot(root)


def test_check_of_what_was_never_applied_has_its_own_answer(root: Path, always: Door) -> None:
    lay(root, {"command": "c"})

    answer = always("--check")

    assert 2 == answer.returncode
    assert "NeverApplied" in answer.stderr


def test_copy_once_places_once_and_says_so(root: Path, door: Door) -> None:
    lay(root, {"command": "c", "config_files": [entry("a", "/etc/a")]}, a="1")
    first = door("kolla_set_configs", KOLLA_CONFIG_STRATEGY="COPY_ONCE")
    lay(root, a="2")

    second = door("kolla_set_configs", KOLLA_CONFIG_STRATEGY="COPY_ONCE")

    assert (0, 0) == (first.returncode, second.returncode)
    assert "ImmutableConfig" in second.stderr
    assert "1" == (root / "etc/a").read_text()


@pytest.mark.parametrize("strategy", [{}, {"KOLLA_CONFIG_STRATEGY": ""}, {"KOLLA_CONFIG_STRATEGY": "copy_always"}])
def test_any_other_strategy_is_refused(root: Path, door: Door, strategy: dict[str, str]) -> None:
    lay(root, {"command": "c"})

    answer = door("kolla_set_configs", **strategy)

    assert 1 == answer.returncode
    assert not (root / "run_command").exists()


def test_no_document_is_an_error_that_names_it(root: Path, always: Door) -> None:
    answer = always()

    assert 1 == answer.returncode
    assert "/var/lib/kolla/config_files/config.json" in answer.stderr


def test_the_program_loads_no_yaml_for_json(doors: Path, tmp_path: Path) -> None:
    lay(tmp_path / "root", {"command": "c"})

    answer = subprocess.run(
        [sys.executable, "-X", "importtime", doors / "kolla_set_configs", "--root", tmp_path / "root"],
        env={"KOLLA_CONFIG_STRATEGY": "COPY_ALWAYS"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )

    assert 0 == answer.returncode
    assert not re.search(r"\byaml\b", answer.stderr)
