"""What a document of Kolla may say, by plain calls."""

import pytest

from agent.apply import kolla_document, scene
from agent.apply.kolla_document import InvalidConfig, Owner

COPY = {"source": "/s", "dest": "/d", "owner": "a", "perm": "0600"}


def refusal(document: object) -> str:
    with pytest.raises(InvalidConfig) as caught:
        kolla_document.document(document)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_list_of_words_is_a_command_that_splits_into_them_again() -> None:
    assert "/bin/svc 'a b'" == kolla_document.document({"command": ["/bin/svc", "a b"]}).command


@pytest.mark.parametrize(
    ("text", "user", "group"), [("a:b", "a", "b"), ("a", "a", "a"), ("a:", "a", "a"), ("1:2", "1", "2")]
)
def test_an_owner_is_a_user_and_a_group(text: str, user: str, group: str) -> None:
    [copy] = kolla_document.document({"command": "c", "config_files": [{**COPY, "owner": text}]}).copies

    assert Owner(user, group, "config_files[0].owner") == copy.owner


@pytest.mark.parametrize(
    ("text", "mode"), [("600", 0o600), ("0640", 0o640), ("0o644", 0o644), ("2770", 0o2770), ("0o1777", 0o1777)]
)
def test_perm_is_an_octal_text(text: str, mode: int) -> None:
    [copy] = kolla_document.document({"command": "c", "config_files": [{**COPY, "perm": text}]}).copies

    assert mode == copy.mode


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (None, "no object"),
        ([], "no object"),
        ({}, "command"),
        ({"command": 1}, "command"),
        ({"command": []}, "command"),
        ({"command": "c", "config_files": {}}, "config_files"),
        ({"command": "c", "config_files": [1]}, "config_files[0]"),
        ({"command": "c", "config_files": [COPY, {**COPY, "ignore_globs": []}]}, "config_files[1]: unknown key"),
        ({"command": "c", "config_files": [{**COPY, "perm": 420}]}, "config_files[0].perm"),
        ({"command": "c", "config_files": [{**COPY, "perm": "rw-r--r--"}]}, "config_files[0].perm"),
        ({"command": "c", "config_files": [{**COPY, "perm": "0888"}]}, "config_files[0].perm"),
        ({"command": "c", "config_files": [{**COPY, "owner": 0}]}, "config_files[0].owner"),
        ({"command": "c", "config_files": [{**COPY, "owner": ":a"}]}, "config_files[0].owner"),
        ({"command": "c", "config_files": [{**COPY, "owner": None}]}, "preserve_properties"),
        ({"command": "c", "config_files": [{"source": "/s", "owner": "a", "perm": "600"}]}, "dest"),
        ({"command": "c", "config_files": [{**COPY, "dest": "relative"}]}, "config_files[0].dest"),
        ({"command": "c", "config_files": [{**COPY, "optional": "false"}]}, "config_files[0].optional"),
        ({"command": "c", "config_files": [{**COPY, "source": "/s/", "dest": "/d/"}]}, "merge"),
        ({"command": "c", "directories": [{"path": "/x*", "owner": "a", "perm": "755"}]}, "wildcards"),
        ({"command": "c", "files": [{"path": "/x", "owner": "a", "perm": None}]}, "files[0]"),
        ({"command": "c", "permissions": [{"owner": "a"}]}, "permissions[0]"),
        ({"command": "c", "permissions": [{"path": "/", "exclude": ["("]}]}, "permissions[0].exclude[0]"),
        ({"command": "c", "permissions": [{"path": "/", "exclude": "x"}]}, "permissions[0].exclude"),
    ],
)
def test_a_fault_is_named_with_its_entry_and_key(document: object, words: str) -> None:
    assert words in refusal(document)


def test_an_empty_yaml_is_refused() -> None:
    with pytest.raises(InvalidConfig, match="empty"):
        kolla_document.parse(b"", "config.yaml")


def test_a_byte_order_mark_is_no_fault() -> None:
    assert "c" == kolla_document.parse(b'\xef\xbb\xbf{"command": "c"}', "config.json").command


def test_broken_yaml_is_refused_in_one_line() -> None:
    with pytest.raises(InvalidConfig) as caught:
        kolla_document.parse(b"a: [\n b: }", "config.yaml")

    assert "\n" not in str(caught.value)


def test_a_section_nobody_reads_is_told_of() -> None:
    assert ("permision",) == kolla_document.document({"command": "c", "permision": []}).unknown


@pytest.mark.parametrize(("mode", "wanted"), [(0o640, 0o750), (0o600, 0o700), (0o444, 0o555), (0o2770, 0o2770), (0, 0)])
def test_a_directory_can_be_entered_by_who_may_read_it(mode: int, wanted: int) -> None:
    assert wanted == scene.directory_mode(mode)
