"""What others may write is not used: programs, templates and scripts, by whatever way they are reached."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.ownership import tree_writable_by_others, writable_by_others
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory of our own with a program in it."""
    place = tmp_path / "place"
    place.mkdir(mode=0o755)
    (place / "program").write_text("#!/bin/sh\n")
    (place / "program").chmod(0o755)
    return place


def test_what_only_root_and_we_may_write_is_fine(place: Path) -> None:
    assert ("", "") == (writable_by_others(place / "program"), tree_writable_by_others(place))


@pytest.mark.parametrize("spoiled", ["place", "place/program", "."])
def test_a_file_or_any_directory_above_it_that_others_may_write_is_named_with_its_mode(
    place: Path, spoiled: str
) -> None:
    path = place.parent / spoiled
    path.chmod(0o777)

    said = writable_by_others(place / "program")

    assert f"{path} may be written by others (mode 0777); chmod go-w {path}" == said


def test_a_sticky_directory_is_fine_above_and_not_as_the_place_itself(place: Path) -> None:
    place.chmod(0o1777)

    assert "" == writable_by_others(place / "program")
    assert f"{place} may be written" in tree_writable_by_others(place)


def test_a_link_is_no_better_than_the_directory_it_lies_in(place: Path) -> None:
    shared = place.parent / "shared"
    shared.mkdir()
    (shared / "link").symlink_to(place / "program")
    (place / "link").symlink_to(shared / "link")
    shared.chmod(0o777)

    assert [f"{shared} may be written by others (mode 0777); chmod go-w {shared}"] * 2 == [
        writable_by_others(path / "link") for path in (shared, place)
    ]


def test_a_link_to_a_directory_counts_as_what_it_leads_to(place: Path) -> None:
    (place.parent / "link").symlink_to("place")
    place.chmod(0o777)

    assert f"{place} may be written" in tree_writable_by_others(place.parent / "link").replace("/link ", "/place ")


@pytest.mark.parametrize("how", ["file", "directory", "link"])
def test_a_tree_is_no_better_than_anything_in_it(place: Path, how: str) -> None:
    tree = place.parent / "tree"
    (tree / "below").mkdir(parents=True)
    spoiled = {"file": tree / "below/file", "directory": tree / "below", "link": place / "program"}[how]
    if how == "link":
        (tree / "below/link").symlink_to(spoiled)
    (tree / "below/file").touch()
    spoiled.chmod(0o777)

    assert f"{spoiled} may be written" in tree_writable_by_others(tree)


def test_links_to_nothing_and_in_a_circle_end(place: Path) -> None:
    (place / "nothing").symlink_to("nowhere")

    assert "" == tree_writable_by_others(place)
    (place / "one").symlink_to("other")
    (place / "other").symlink_to("one")
    with pytest.raises(OSError, match="Too many levels"):
        writable_by_others(place / "one")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file away, which root alone may")
def test_what_belongs_to_somebody_else_is_named(place: Path) -> None:
    os.chown(place / "program", 12345, 12345)

    assert f"{place}/program belongs to uid 12345; chown it to root" == writable_by_others(place / "program")


@pytest.mark.parametrize("tree", ["os-apply-config/templates/etc", "os-refresh-config/configure.d"])
def test_templates_and_phases_that_others_may_write_are_not_used_and_stop_the_deployments(
    guest: Guest, endpoint: Endpoint, tree: str
) -> None:
    path = guest.root / "usr/libexec" / tree
    path.mkdir(parents=True)
    program = path / "10-program"
    program.write_text(f"#!/bin/sh\necho ran >> {guest.witness}\n")
    program.chmod(0o777)
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho hook >> $WITNESS\n"))

    ended = guest.once(once_patience="0")

    assert (True, []) == (ended.status != 0, guest.seen())
    [event] = ended.events("phases failed")
    assert f"{program} may be written by others (mode 0777)" in event["reason"]
