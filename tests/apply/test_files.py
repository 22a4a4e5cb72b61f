"""A document of files through `agent apply`: placed all or nothing, undone when an entry leaves, units told once."""

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.apply import files, files_document
from agent.errors import ApplyError
from tests.apply.conftest import script
from tests.waiting import LONGEST_S

Apply = Callable[..., "subprocess.CompletedProcess[str]"]
HOMES = "var/lib/heat-config/heat-config-files"
Snapshot = dict[str, tuple[object, ...]]


def snapshot(root: Path) -> Snapshot:
    """Everything below `root` but the lock: mode, owner, content, and inode and times of what is no directory."""
    found: Snapshot = {}
    for path in sorted(root.rglob("*")):
        name, at = str(path.relative_to(root)), path.lstat()
        if name == f"{HOMES}/lock":
            continue
        content: object = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        times = () if path.is_dir() and not path.is_symlink() else (at.st_ino, at.st_mtime_ns, at.st_ctime_ns)
        found[name] = (at.st_mode, at.st_uid, at.st_gid, content, *times)
    return found


def visible(root: Path) -> Snapshot:
    """What a user of the guest sees of files: no inodes, no times, not the memory of documents."""
    return {
        name: seen[:4] for name, seen in snapshot(root).items() if not name.startswith("var") and seen[3] is not None
    }


@pytest.fixture
def apply(tmp_path: Path, root: Path, agent_command: list[str], environment: dict[str, str]) -> Apply:
    """`agent apply` of these files, with a systemctl that records how it is called in `calls`."""
    script(tmp_path / "bin/systemctl", f'echo "$@" >> {tmp_path}/calls; test ! -e {tmp_path}/refuses')

    def call(entries: object, *flags: str, name: str = "web") -> subprocess.CompletedProcess[str]:
        document = tmp_path / "files.json"
        document.write_text(json.dumps({"files": entries}))
        return subprocess.run(
            [*agent_command, "--root", str(root), "apply", str(document), "--name", name, *flags],
            env={**environment, "PATH": f"{tmp_path}/bin:{environment['PATH']}"},
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

    return call


def calls(tmp_path: Path) -> list[str]:
    """What systemctl was told since the last look."""
    record = tmp_path / "calls"
    lines = record.read_text().splitlines() if record.exists() else []
    record.unlink(missing_ok=True)
    return lines


# --------------------------------------------------------------------------------------------------- laws

NAMES = ("/etc/a", "/etc/b", "/etc/sub/c", "/l")
FACTS = st.sampled_from(
    [
        {"content": "one\n"},
        {"content": "two"},
        {"content": "one\n", "mode": "0600"},
        {"content": "mine", "append": True},
        {"content": "other", "append": True, "mode": "0755"},
        {"link": "a"},
    ]
)
DOCUMENTS = st.dictionaries(st.sampled_from(NAMES), FACTS)
THERE = st.dictionaries(st.sampled_from(NAMES), st.sampled_from(["file one\n", "file two", "file ", "link /nowhere"]))


def settle(root: Path, there: dict[str, str]) -> None:
    for name, word in there.items():
        kind, text = word.split(" ", 1)
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "link":
            path.symlink_to(text)
        else:
            path.write_text(text)
            path.chmod(0o640)


def planned(root: Path, document: dict[str, object], name: str = "web") -> files.Plan:
    entries = files_document.parse({"files": document})  # type: ignore[dict-item]
    return files.plan(entries, root, root / HOMES, name, lambda url: url.encode())


@given(THERE, st.lists(DOCUMENTS, min_size=1, max_size=3))
def test_same_holds_exactly_when_applying_changes_nothing(
    there: dict[str, str], documents: list[dict[str, object]]
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        settle(root, there)
        for document in documents:
            before = snapshot(root)
            try:
                plan = planned(root, document)
            except ApplyError:  # a link where something is to be appended
                continue
            assert before == snapshot(root)

            files.apply(plan, None)

            after = snapshot(root)
            assert plan.same == (before == after)
            assert planned(root, document).same
            assert {"unchanged"} >= {change.word for change in planned(root, document).changes}
    finally:
        shutil.rmtree(root)


@given(THERE, st.lists(DOCUMENTS, min_size=1, max_size=4))
def test_an_empty_document_at_the_end_brings_back_every_file(
    there: dict[str, str], documents: list[dict[str, object]]
) -> None:
    root = Path(tempfile.mkdtemp())
    try:
        settle(root, there)
        before = visible(root)
        for document in documents:
            try:
                files.apply(planned(root, document), None)
            except ApplyError:  # as above
                continue

        files.apply(planned(root, {}), None)

        assert before == visible(root)
        assert [] == list((root / HOMES).iterdir()) if (root / HOMES).exists() else True
    finally:
        shutil.rmtree(root)


# ------------------------------------------------------------------------------------------------ the door


def test_a_document_is_checked_shown_and_applied(root: Path, apply: Apply) -> None:
    (root / "etc").mkdir()
    (root / "etc/motd").write_text("old\n")
    document = {"/etc/motd": {"content": "new\n"}, "/etc/deep/app": {"content": {"port": 80}, "mode": "0640"}}

    shown = [apply(document, flag) for flag in ("--check", "--diff")]
    applied, again = apply(document), apply(document, "--check", "--json")

    table = f"changed    {root}/etc/motd (content)\ncreated    {root}/etc/deep/app\n"
    assert [(1, table), (0, table)] == [(shown[0].returncode, shown[0].stdout), (applied.returncode, applied.stdout)]
    assert "-old\n+new\n" in shown[1].stdout
    assert "port" not in shown[1].stdout, "0640: not everybody may read it"
    assert '{\n    "port": 80\n}\n' == (root / "etc/deep/app").read_text()
    assert (0, dict.fromkeys([f"{root}/etc/motd", f"{root}/etc/deep/app"], "unchanged")) == (
        again.returncode,
        json.loads(again.stdout),
    )


def test_every_fault_of_a_document_is_named_before_anything_is_written(root: Path, apply: Apply) -> None:
    faulty = {
        "/good": {"content": "x"},
        "relative": {"content": "x"},
        "/mode": {"content": "x", "mode": 0o644},
        "/both": {"content": "x", "link": "y"},
        "/none": {},
        "/typo": {"content": "x", "perm": "0644"},
        "/check": {"content": "x", "validate": ["visudo", "-c"]},
        "/good/below": {"content": "x"},
    }

    refused = apply(faulty, "--check")

    assert 2 == refused.returncode
    for fault in ("relative: it is no absolute", "/mode: mode: octal", "/both: one of", "/none: one of"):
        assert fault in refused.stderr
    for fault in ("/typo: unknown key perm", "/check: validate: a list of words", "/good: another entry needs it"):
        assert fault in refused.stderr
    assert [] == list(root.iterdir())


def test_content_with_another_digest_changes_nothing(root: Path, apply: Apply) -> None:
    right, wrong = hashlib.sha256(b"x").hexdigest(), hashlib.sha256(b"y").hexdigest()

    refused = apply({"/a": {"content": "new"}, "/b": {"content": "x", "sha256": wrong}})

    assert (1, f"agent: placing /b: its content has the sha256 {right}, not {wrong}\n") == (
        refused.returncode,
        refused.stderr,
    )
    assert not (root / "a").exists()
    assert 0 == apply({"/b": {"content": "x", "sha256": right}}).returncode


def test_a_file_that_its_validation_refuses_changes_nothing(root: Path, apply: Apply) -> None:
    document = {"/a": {"content": "new"}, "/b": {"content": "bad\n", "validate": ["grep", "-q", "good", "%s"]}}

    refused = apply(document)

    assert (1, False) == (refused.returncode, (root / "a").exists())
    assert f"validating {root}/b: grep ended with 1; no file was changed" in refused.stderr


def test_a_source_on_the_guest_may_be_missing_where_it_is_optional(root: Path, apply: Apply) -> None:
    optional = {"/etc/a": {"source": "/srv/a", "optional": True}}
    (root / "etc").mkdir()
    (root / "etc/a").write_text("original")

    states = [apply(optional).returncode, (root / "etc/a").read_text()]
    (root / "srv").mkdir()
    (root / "srv/a").write_text("from source")
    states += [apply(optional).returncode, (root / "etc/a").read_text()]
    (root / "srv/a").unlink()
    states += [apply(optional).returncode, (root / "etc/a").read_text()]

    assert [0, "original", 0, "from source", 0, "original"] == states
    assert 1 == apply({"/etc/a": {"source": "/srv/a"}}).returncode


def test_an_original_is_kept_once_and_comes_back_with_its_mode(root: Path, apply: Apply) -> None:
    (root / "conf").write_text("original")
    (root / "conf").chmod(0o604)

    for text in ("one", "two", "three"):
        assert 0 == apply({"/conf": {"content": text, "mode": "0644"}}).returncode
    gone = apply({})

    assert (0, f"changed    {root}/conf (content, mode)\n") == (gone.returncode, gone.stdout)
    assert ("original", 0o100604) == ((root / "conf").read_text(), (root / "conf").stat().st_mode)


def test_what_somebody_changed_since_stays_and_is_told_of(root: Path, apply: Apply) -> None:
    apply({"/a": {"content": "ours"}, "/b": {"content": "ours"}})
    (root / "a").write_text("ours, and edited")

    gone = apply({})

    assert (0, "agent: /a stays as it is: somebody changed it after it was placed\n") == (gone.returncode, gone.stderr)
    assert ("ours, and edited", False) == ((root / "a").read_text(), (root / "b").exists())


def test_an_appended_block_is_there_once_and_leaves_what_others_wrote(root: Path, apply: Apply) -> None:
    (root / "hosts").write_text("127.0.0.1 localhost")
    document = {"/hosts": {"content": "10.0.0.1 web", "append": True, "comment": ";"}}

    words = [apply(document).stdout.split()[0] for _ in range(2)]
    text = (root / "hosts").read_text()
    (root / "hosts").write_text(f"{text}10.0.0.9 another\n")
    other = apply({"/hosts": {"content": "10.0.0.2 db", "append": True}}, name="db")
    apply({})

    mark = "of web, kept by os-deploy-agent\n"
    assert ["changed", "unchanged"] == words
    assert f"127.0.0.1 localhost\n; begin {mark}10.0.0.1 web\n; end {mark}" == text
    assert 0 == other.returncode
    left = (root / "hosts").read_text()
    assert left.startswith("127.0.0.1 localhost\n10.0.0.9 another\n# begin of db")
    assert "web" not in left


def test_a_block_that_somebody_changed_stays(root: Path, apply: Apply) -> None:
    apply({"/hosts": {"content": "10.0.0.1 web", "append": True}})
    text = (root / "hosts").read_text().replace("10.0.0.1", "10.0.0.7")
    (root / "hosts").write_text(text)

    gone = apply({})

    assert (text, True) == ((root / "hosts").read_text(), "somebody changed it" in gone.stderr)


def test_a_block_that_would_end_before_its_end_is_refused(root: Path, apply: Apply) -> None:
    refused = apply({"/hosts": {"content": "# end of web, kept by os-deploy-agent\nmore", "append": True}})

    assert (1, True, False) == (refused.returncode, "appending to /hosts" in refused.stderr, (root / "hosts").exists())


def test_a_file_has_one_master(root: Path, apply: Apply) -> None:
    apply({"/a": {"content": "x"}})

    refused = apply({"/a": {"content": "y"}}, name="other")

    assert (1, "agent: placing /a: the document web has placed it; take it out of one of them\n") == (
        refused.returncode,
        refused.stderr,
    )


def test_a_link_is_replaced_and_a_link_above_is_followed(root: Path, apply: Apply) -> None:
    (root / "real").mkdir()
    (root / "real/target").write_text("keep")
    (root / "etc").symlink_to("/real")
    (root / "real/conf").symlink_to("target")

    applied = apply({"/etc/conf": {"content": "new"}})

    assert (0, "keep", "new") == (
        applied.returncode,
        (root / "real/target").read_text(),
        (root / "real/conf").read_text(),
    )
    assert not (root / "real/conf").is_symlink()
    apply({})
    assert "target" == str((root / "real/conf").readlink())


def test_two_spellings_of_one_file_are_refused(root: Path, apply: Apply) -> None:
    (root / "real").mkdir()
    (root / "etc").symlink_to("real")

    refused = apply({"/etc/conf": {"content": "x"}, "/real/conf": {"content": "y"}})

    assert (1, True) == (refused.returncode, "two paths lead to one file" in refused.stderr)


def test_a_deployment_that_is_deleted_brings_everything_back(
    root: Path, agent_command: list[str], environment: dict[str, str]
) -> None:
    (root / "conf").write_text("original")
    inputs = [{"name": "deploy_stack_id", "value": "s/1"}, {"name": "deploy_resource_name", "value": "web"}]

    def deploy(action: str, config: object) -> tuple[int, str]:
        asked = {"config": config, "name": action, "inputs": [*inputs, {"name": "deploy_action", "value": action}]}
        command = [*agent_command, "--root", str(root), "hook", "files"]
        said = subprocess.run(
            command, input=json.dumps(asked), env=environment, capture_output=True, text=True, check=True
        )
        return json.loads(said.stdout)["deploy_status_code"], (root / "conf").read_text()

    document = {"files": {"/conf": {"content": "ours"}, "/new": {"content": "ours"}}}

    assert [(0, "ours"), (0, "ours"), (0, "original")] == [
        deploy(action, document) for action in ("CREATE", "UPDATE", "DELETE")
    ]
    assert not (root / "new").exists()


# ----------------------------------------------------------------------------------------------------- units


def test_units_are_told_once_at_the_end_and_only_for_what_changed(tmp_path: Path, apply: Apply) -> None:
    document = {
        "/a": {"content": "1", "notify": ["web", "log.socket"]},
        "/b": {"content": "1", "notify": ["web"]},
        "/c": {"content": "1", "restart": ["app"], "notify": ["app"]},
    }

    assert 0 == apply(document).returncode
    assert ["try-restart -- app.service", "try-reload-or-restart -- web.service log.socket"] == calls(tmp_path)
    assert (0, []) == (apply(document).returncode, calls(tmp_path))
    assert 0 == apply({**document, "/c": {**document["/c"], "content": "2"}}).returncode
    assert ["try-restart -- app.service"] == calls(tmp_path)
    assert 0 == apply({"/c": document["/c"], "/b": document["/b"]}).returncode
    assert ["try-restart -- app.service", "try-reload-or-restart -- web.service log.socket"] == calls(tmp_path)


def test_a_unit_that_was_not_told_is_told_by_the_next_run(tmp_path: Path, root: Path, apply: Apply) -> None:
    document = {"/a": {"content": "1", "notify": ["web"]}}
    (tmp_path / "refuses").touch()

    refused = apply(document)
    calls(tmp_path)
    (tmp_path / "refuses").unlink()
    checked, again, last = apply(document, "--check"), apply(document), apply(document, "--check")

    assert (1, "1") == (refused.returncode, (root / "a").read_text())
    assert "telling web.service of changed files: systemctl: ended with 1" in refused.stderr
    assert (1, 0, 0) == (checked.returncode, again.returncode, last.returncode)
    assert ["try-reload-or-restart -- web.service"] == calls(tmp_path)


def test_nobody_is_told_where_that_is_not_wanted(tmp_path: Path, apply: Apply) -> None:
    document = {"/a": {"content": "1", "notify": ["web"]}}

    statuses = [apply(document, "--no-notify").returncode, apply(document).returncode]

    assert ([0, 0], []) == (statuses, calls(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to somebody else")
def test_a_failure_half_way_leaves_bytes_mode_and_owner(root: Path, apply: Apply) -> None:
    (root / "a").write_text("original")
    os.chown(root / "a", 4711, 4712)
    (root / "a").chmod(0o604)
    (root / "z").mkdir()
    before = snapshot(root)

    for last in ({"/z": {"content": "x"}}, {"/y": {"content": "x", "validate": ["false", "%s"]}}):
        refused = apply({"/a": {"content": "new", "owner": 1, "mode": "0600"}, **last})

        assert 1 == refused.returncode
        kept = {name: seen for name, seen in snapshot(root).items() if not name.startswith("var")}
        assert before == kept
