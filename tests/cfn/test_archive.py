"""Archives: whatever is in one, nothing outside the directory is touched."""

import io
import os
import tarfile
from contextlib import suppress
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.apply import cfn_sources
from agent.errors import ApplyError

PARTS = st.sampled_from(["a", "b", "..", ".", "", "out"])
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
KINDS = st.sampled_from([tarfile.REGTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE])


def extract(data: bytes, url: str, directory: Path) -> int:
    """As if the URL had served this."""
    with NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        return cfn_sources.extract(Path(file.name), url, directory)


def packed(members: list[tuple[str, bytes, str]], kind: str = "") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=f"w:{kind}") as tar:
        for name, type_, target in members:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = type_, target
            info.size = 4 if type_ == tarfile.REGTYPE else 0
            tar.addfile(info, io.BytesIO(b"evil"))
    return stream.getvalue()


@given(st.lists(st.tuples(PATHS, KINDS, PATHS), max_size=8))
def test_no_member_leaves_the_directory(members: list[tuple[str, bytes, str]]) -> None:
    with TemporaryDirectory() as name:
        inside, outside = Path(name, "in/dst"), Path(name, "out")
        outside.write_text("mine")
        Path(name, "in").mkdir()

        with suppress(ApplyError):  # a refusal is as good
            extract(packed(members), "http://h/x.tar", inside)

        assert "mine" == outside.read_text()
        assert {"in", "out"} == {path.name for path in Path(name).iterdir()}
        assert {"dst"} >= {path.name for path in Path(name, "in").iterdir()}
        assert all(Path(os.path.realpath(path)).is_relative_to(os.path.realpath(inside)) for path in inside.rglob("*"))


def test_a_refused_member_leaves_its_neighbours_unwritten(tmp_path: Path) -> None:
    data = packed([("good", tarfile.REGTYPE, ""), ("../x", tarfile.REGTYPE, "")])

    with pytest.raises(ApplyError, match="not a sub-path"):
        extract(data, "http://h/x.tar", tmp_path / "dst")

    assert [] == list(tmp_path.iterdir())


def test_a_link_that_is_there_already_does_not_lead_out(tmp_path: Path) -> None:
    (tmp_path / "dst").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "dst/d").symlink_to(tmp_path / "other")

    with pytest.raises(ApplyError, match="leads out"):
        extract(packed([("d/f", tarfile.REGTYPE, "")]), "http://h/x.tar", tmp_path / "dst")

    assert [] == list((tmp_path / "other").iterdir())


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    data = packed([("d", tarfile.DIRTYPE, ""), ("d/f", tarfile.REGTYPE, ""), ("l", tarfile.SYMTYPE, "d/f")], "gz")

    assert 3 == extract(data, "http://h/x.tgz?sig=1", tmp_path)
    assert 0 == extract(data, "http://h/x.tgz?sig=2", tmp_path)
    assert "evil" == (tmp_path / "l").read_text()


def test_the_top_directory_of_github_is_left_out(tmp_path: Path) -> None:
    data = packed([("repo-1", tarfile.DIRTYPE, ""), ("repo-1/f", tarfile.REGTYPE, "")], "gz")

    extract(data, "https://github.com/u/repo/tarball/1", tmp_path)

    assert ["f"] == [path.name for path in tmp_path.iterdir()]


def test_what_is_no_archive_or_is_damaged_is_refused(tmp_path: Path) -> None:
    whole = packed([("f", tarfile.REGTYPE, "")], "gz")

    for data in (b"<html>not found</html>", whole[: len(whole) // 2]):
        with pytest.raises(ApplyError):
            extract(data, "http://h/x.tgz", tmp_path)
