"""The placer: what it says it would do is what it does, and what it cannot finish it undoes."""

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.apply import install, place, report
from agent.apply.place import Placement
from agent.errors import ApplyError

NAMES = ("a", "b", "sub/c", "sub/deep/d")
CONTENTS = st.sampled_from([b"", b"one\n", b"two\n"])
MODES = st.sampled_from([None, 0o600, 0o640, 0o644, 0o755, 0])

Snapshot = dict[str, tuple[object, ...]]


def snapshot(root: Path) -> Snapshot:
    """Everything below `root`: kind, mode, owner, inode, times, content."""
    found: Snapshot = {}
    for directory, directories, files in os.walk(root):
        for name in (*directories, *files):
            path = Path(directory, name)
            at = path.lstat()
            times = () if stat.S_ISDIR(at.st_mode) else (at.st_ino, at.st_mtime_ns)
            content = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(root))] = (at.st_mode, at.st_uid, at.st_gid, *times, content)
    return found


def changed_times(root: Path) -> dict[str, int]:
    return {str(path): path.lstat().st_ctime_ns for path in root.rglob("*")}


@st.composite
def guests(
    draw: st.DrawFn,
) -> tuple[list[tuple[str, str, bytes, int]], list[tuple[str, bytes | None, str, int | None]]]:
    """What is there at first (name, kind, content, mode), and what is declared (name, content, link, mode)."""
    there = [
        (name, draw(st.sampled_from(["file", "link"])), draw(CONTENTS), draw(st.sampled_from([0o600, 0o644])))
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    ]
    declared = [
        (name, draw(CONTENTS | st.none()), draw(st.sampled_from(["", "", "a"])), draw(MODES))
        for name in draw(st.lists(st.sampled_from(NAMES), unique=True))
    ]
    return there, declared


def make(root: Path, there: list[tuple[str, str, bytes, int]]) -> None:
    for name, kind, content, mode in there:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to("/nonexistent")
        else:
            path.write_bytes(content)
            path.chmod(mode)


@given(guests())
def test_same_holds_exactly_when_applying_changes_nothing(
    guest: tuple[list[tuple[str, str, bytes, int]], list[tuple[str, bytes | None, str, int | None]]],
) -> None:
    there, declared = guest
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        make(root, there)
        placements = [Placement(root / name, content, link, mode) for name, content, link, mode in declared]
        before, times = snapshot(root), changed_times(root)

        said = place.check(placements)
        told = [bool(report.diff(change)) for change in said]
        untouched = snapshot(root) == before and changed_times(root) == times
        did = install.install(placements)

        assert untouched
        assert said == did
        assert all(c.word == place.UNCHANGED for c in said) == (before == snapshot(root))
        unchanged = [str(c.path) for c in said if c.word == place.UNCHANGED and os.path.lexists(c.path)]
        assert [times[path] for path in unchanged] == [os.lstat(path).st_ctime_ns for path in unchanged]
        assert all(c.word == place.UNCHANGED for c in place.check(placements))
        assert told == [c.word != place.UNCHANGED for c in said]


@given(guests(), st.integers(0, 40), st.sampled_from(["rename", "fsync", "fchmod", "write", "link"]))
def test_a_failure_half_way_leaves_everything_as_it_was(
    guest: tuple[list[tuple[str, str, bytes, int]], list[tuple[str, bytes | None, str, int | None]]],
    after: int,
    call: str,
) -> None:
    there, declared = guest
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as kernel:
        root = Path(scratch)
        make(root, there)
        placements = [Placement(root / name, content, link, mode) for name, content, link, mode in declared]
        before, real, calls = snapshot(root), getattr(os, call), iter(range(1000))

        def failing(*arguments: object, **options: object) -> object:
            if next(calls) == after:
                raise OSError(28, "No space left on device")
            return real(*arguments, **options)

        kernel.setattr(os, call, failing)
        try:
            install.install(placements)
        except ApplyError:
            assert before == snapshot(root)
        assert [] == list(root.rglob(".agent-*"))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to somebody else")
@given(MODES, st.sampled_from([None, 0, 4711]), st.booleans())
def test_a_file_is_never_wider_than_its_final_mode(mode: int | None, owner: int | None, there: bool) -> None:
    """Looked at before and after each call that the new file goes through."""
    with tempfile.TemporaryDirectory() as scratch, pytest.MonkeyPatch.context() as kernel:
        path = Path(scratch, "f")
        if there:
            path.write_bytes(b"old")
            path.chmod(0o604)
        old = path.lstat().st_ino if there else 0
        final = mode if mode is not None else 0o604 if there else 0o644
        seen: list[tuple[int, int]] = []

        def watching(call: str) -> None:
            real = getattr(os, call)

            def watched(*arguments: object, **options: object) -> object:
                done = real(*arguments, **options)
                for name in os.listdir(scratch):
                    at = os.lstat(f"{scratch}/{name}")
                    if name.startswith(".agent-") and at.st_ino != old:
                        seen.append((stat.S_IMODE(at.st_mode), at.st_uid))
                return done

            kernel.setattr(os, call, watched)

        for call in ("open", "write", "fchown", "fchmod", "fsync"):
            watching(call)

        install.install([Placement(path, b"new", mode=mode, uid=owner)])

        assert (final, owner or 0) == seen[-1]
        assert [] == [at for at, _ in seen if at & ~final]
        assert [] == [at for at, uid in seen if uid != (owner or 0) and at & ~0o600], "not yet that of its owner"


def test_a_new_file_and_its_directories_are_made(tmp_path: Path) -> None:
    [change] = install.install([Placement(tmp_path / "etc/app/conf", b"x", mode=0o640)])

    assert place.CREATED == change.word
    assert 0o640 == stat.S_IMODE((tmp_path / "etc/app/conf").stat().st_mode)


def test_the_umask_does_not_narrow_a_mode(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        install.install([Placement(tmp_path / "f", b"x")])
    finally:
        os.umask(before)

    assert 0o644 == stat.S_IMODE((tmp_path / "f").stat().st_mode)


def test_a_link_is_replaced_and_its_target_is_left_alone(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(b"keep")
    secret.chmod(0o600)
    (tmp_path / "f").symlink_to(secret)

    install.install([Placement(tmp_path / "f", b"new", mode=0o666)])

    assert not (tmp_path / "f").is_symlink()
    assert (b"keep", 0o600) == (secret.read_bytes(), stat.S_IMODE(secret.stat().st_mode))


def test_a_link_can_be_declared(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"a file")

    assert [place.CHANGED] == [c.word for c in install.install([Placement(tmp_path / "l", link="elsewhere")])]
    assert "elsewhere" == str((tmp_path / "l").readlink())
    assert [place.UNCHANGED] == [c.word for c in place.check([Placement(tmp_path / "l", link="elsewhere")])]


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_refused_before_anything_is_written(tmp_path: Path, kind: str) -> None:
    if kind == "directory":
        (tmp_path / "z").mkdir()
    else:
        os.mkfifo(tmp_path / "z")

    with pytest.raises(ApplyError, match="move it away"):
        install.install([Placement(tmp_path / "a", b"x"), Placement(tmp_path / "z", b"x")])

    assert not (tmp_path / "a").exists()


def test_a_path_is_declared_once_and_is_no_directory_of_another(tmp_path: Path) -> None:
    with pytest.raises(ApplyError, match="twice"):
        place.check([Placement(tmp_path / "a"), Placement(tmp_path / "a")])
    with pytest.raises(ApplyError, match="declared as a file"):
        place.check([Placement(tmp_path / "a"), Placement(tmp_path / "a/b")])


def test_what_a_killed_run_left_is_swept_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    gone = tmp_path / f".agent-{2**22 + 1}-{'0' * 16}.tmp"
    alive = tmp_path / f".agent-{os.getppid()}-{'0' * 16}.tmp"
    gone.touch()
    alive.touch()

    install.install([Placement(tmp_path / "f", b"x")])

    assert {"f", alive.name} == {path.name for path in tmp_path.iterdir()}


def refusing(*words: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", f"test -s $1 && stat -c 'mode %a' $1; grep -q {' '.join(words)} $1", "-", "%s")


def test_a_file_that_its_command_refuses_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"as it was")
    before = snapshot(tmp_path)

    with pytest.raises(
        ApplyError, match=rf"validating {tmp_path}/b: /bin/sh ended with 1; no file was changed\nmode 644"
    ):
        install.install([Placement(tmp_path / "a", b"new"), Placement(tmp_path / "b", b"x", validate=refusing("good"))])

    assert before == snapshot(tmp_path)


def test_a_file_that_its_command_accepts_is_placed_and_an_unchanged_one_is_not_asked_about(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    command = ("/bin/sh", "-c", f"cat $1 >> {witness}", "-", "%s")

    words = [install.install([Placement(tmp_path / "f", b"good\n", validate=command)])[0].word for _ in range(2)]

    assert ([place.CREATED, place.UNCHANGED], "good\n") == (words, witness.read_text())


def test_what_a_command_says_of_a_secret_file_is_not_repeated(tmp_path: Path) -> None:
    command = ("/bin/sh", "-c", "cat $1; exit 1", "-", "%s")

    with pytest.raises(ApplyError, match="ended with 1") as refused:
        install.install([Placement(tmp_path / "f", b"hidden-word", mode=0o600, validate=command)])

    assert "hidden-word" not in str(refused.value)


def test_content_may_be_another_file(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"x" * (place.CHUNK + 1))

    words = [install.install([Placement(tmp_path / "f", source)])[0].word for _ in range(2)]
    source.write_bytes(b"x" * place.CHUNK + b"y")
    words += [install.install([Placement(tmp_path / "f", source)])[0].word]

    assert [place.CREATED, place.UNCHANGED, place.CHANGED] == words
    assert source.read_bytes() == (tmp_path / "f").read_bytes()


def test_what_a_killed_run_left_beside_an_unchanged_file_is_swept(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / f".agent-{2**22 + 1}-{'0' * 16}.tmp").touch()

    install.install([Placement(tmp_path / "f", b"x")])

    assert ["f"] == [path.name for path in tmp_path.iterdir()]


def test_a_difference_shows_what_everybody_may_read_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("a\n")
    (tmp_path / "closed").write_text("old-secret\n")
    (tmp_path / "closed").chmod(0o600)
    placements = [Placement(tmp_path / "open", b"b\n"), Placement(tmp_path / "closed", b"new-secret\n", mode=0o644)]

    text = "".join(report.diff(change) for change in place.check(placements))

    assert "-a\n+b\n" in text
    assert "mode 0600 -> 0644" in text
    assert "secret" not in text
