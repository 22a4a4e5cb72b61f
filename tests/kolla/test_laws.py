"""Laws of applying: twice is once, and a check says "same" exactly when applying would change nothing."""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.apply import kolla, kolla_document, scene_act
from agent.errors import ApplyError
from tests.kolla.conftest import CONFIG_FILES, entry, lay, snapshot

FILES = {"a": "1", "b": "2", "d__x": "3", "d__s__y": "4"}
PATHS = ("/etc/a", "/etc/d", "/etc/d/x", "/etc/d/s", "/etc/new/")
MODES = st.sampled_from(["0600", "644", "0o640"])

COPIES = st.builds(
    entry,
    st.sampled_from(["a", "b", "d", "?", "d/*", "none"]),
    st.sampled_from(PATHS),
    merge=st.booleans(),
    preserve_properties=st.booleans(),
    optional=st.just(True),
    perm=MODES,
)
DECLARED = st.builds(
    lambda path, perm: {"path": path, "owner": "me", "perm": perm},
    st.sampled_from(["/etc/d", "/var/z", "/etc/a"]),
    MODES,
)
PERMISSIONS = st.builds(
    lambda path, perm, recurse: {"path": path, "perm": perm, "recurse": recurse},
    st.sampled_from(["/etc/d", "/etc/*", "/etc", "/etc/a"]),
    MODES,
    st.booleans(),
)
DOCUMENTS = st.builds(
    lambda copies, directories, permissions, command: {
        "command": command,
        "config_files": copies,
        "directories": directories,
        "permissions": permissions,
    },
    st.lists(COPIES, max_size=3),
    st.lists(DECLARED, max_size=1),
    st.lists(PERMISSIONS, max_size=1),
    st.sampled_from(["c", "d"]),
)
THERE = st.lists(
    st.sampled_from(["file etc/a", "file etc/d/x", "file etc/d/own", "link etc/d", "link etc/a"]), max_size=3
)


def settle(root: Path, there: list[str]) -> None:
    for word in there:
        kind, name = word.split()
        path = root / name
        if os.path.lexists(path) or path.parent.is_symlink():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to("/var")
        else:
            path.write_text("mine")


def apply(root: Path, document: object) -> bool:
    """Whether the document could be applied."""
    try:
        scene_act.apply(kolla.plan(kolla_document.document(document), root))  # type: ignore[arg-type]
    except ApplyError:
        return False
    return True


@given(THERE, st.lists(DOCUMENTS, min_size=1, max_size=3))
def test_twice_is_once_and_a_check_knows(there: list[str], documents: list[dict[str, object]]) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        lay(root, **FILES)
        settle(root, there)
        for document in documents:
            before = snapshot(root)
            same = False
            with suppress(ApplyError):  # so must applying, below
                same = not kolla.plan(kolla_document.document(document), root).paths  # type: ignore[arg-type]
            assert before == snapshot(root)

            if not apply(root, document):
                assert before == snapshot(root)
                continue
            after = snapshot(root)

            assert same == (before == after)
            assert () == kolla.plan(kolla_document.document(document), root).paths  # type: ignore[arg-type]
            assert apply(root, document)
            assert after == snapshot(root)
    finally:
        shutil.rmtree(root)


@given(THERE, st.lists(st.lists(COPIES, max_size=3), min_size=1, max_size=3))
def test_an_empty_document_at_the_end_brings_back_what_was_there(
    there: list[str], lists: list[list[dict[str, object]]]
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        lay(root, **FILES)
        settle(root, there)
        before = {name: seen[:4] for name, seen in snapshot(root).items() if "." not in name}
        for copies in lists:
            apply(root, {"command": "c", "config_files": [{**copy, "merge": False} for copy in copies]})

        assert apply(root, {"command": "c"})

        made = ("etc/kolla", "run_command", "etc/new", CONFIG_FILES)
        after = {name: seen[:4] for name, seen in snapshot(root).items() if not name.startswith(made)}
        assert before.items() <= after.items()
        assert not [name for name in set(after) - set(before) if (root / name).is_file()]
    finally:
        shutil.rmtree(root)
