"""One table of settings: where each value comes from, and what a faulty one is answered with."""

import dataclasses
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import settings
from agent.errors import SettingsError
from agent.model import JsonMap
from agent.settings import FIELDS, Given, Ini, Settings, parse_ini
from tests.unit.values import JSON_MAPS, recorded

ROOT = Path("/guest")
SECRET = "xKxXY*FfSA4pf84pxb9vH%*A0kQwk9Pk$HOME${x}"


# ---------------------------------------------------------------------------------------------- the INI form


def test_an_ini_file_is_sections_of_keys_of_values() -> None:
    text = """
# a comment
key = 1
[DEFAULT]
polling-interval=30
[heat]
; another comment
auth_url : http://127.0.0.1:5000/v3
password = a = b : c # no comment
"""

    assert {
        "DEFAULT": {"key": ["1"], "polling_interval": ["30"]},
        "heat": {"auth_url": ["http://127.0.0.1:5000/v3"], "password": ["a = b : c # no comment"]},
    } == parse_ini(text, "it")


def test_a_repeated_key_keeps_all_its_values_and_a_section_may_come_back() -> None:
    text = "[cfn]\npath = a.Metadata\n[heat]\nuser_id = u\n[cfn]\npath = b.Metadata\n"

    assert {"path": ["a.Metadata", "b.Metadata"]} == parse_ini(text, "it")["cfn"]


def test_an_indented_line_continues_the_value_above() -> None:
    assert {"DEFAULT": {"hook_dirs": ["/a\n/b\n/c"], "x": ["1"]}} == parse_ini(
        "hook_dirs = /a\n  /b\n\t/c\nx = 1\n", "it"
    )


@pytest.mark.parametrize(
    ("text", "value"), [('"a b"', "a b"), ("'a'", "a"), ('"', '"'), ("\"a'", "\"a'"), ('""', ""), ('""a""', '"a"')]
)
def test_one_pair_of_quotes_is_taken_off(text: str, value: str) -> None:
    assert [value] == parse_ini(f"key = {text}", "it")["DEFAULT"]["key"]


def test_percent_and_dollar_are_what_they_are() -> None:
    text = f"[cfn]\nsecret_access_key = {SECRET}\n"

    assert SECRET == Given(ROOT, files=(("it", parse_ini(text, "it")),)).settings().cfn_secret_access_key


@pytest.mark.parametrize(("text", "line"), [("word", 1), ("a = 1\n\n= 2", 3), ("[heat", 1), ("[a]\nb\n", 2)])
def test_a_line_that_is_no_ini_is_named_by_its_number(text: str, line: int) -> None:
    with pytest.raises(SettingsError, match=rf"reading /etc/x.conf, line {line}: neither '\[section\]' nor"):
        parse_ini(text, "/etc/x.conf")


PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1)


@given(st.sampled_from(sorted(FIELDS)), PRINTABLE.filter(lambda value: value[0] not in "\"'"))
def test_any_value_of_one_line_comes_back_unchanged(key: str, value: str) -> None:
    section, _, name = key.rpartition(".")

    assert [value] == parse_ini(f"[{section or 'DEFAULT'}]\n{name} = {value}\n", "it")[section or "DEFAULT"][name]


@given(st.text())
def test_any_text_is_an_ini_file_or_a_settings_error(text: str) -> None:
    with suppress(SettingsError):
        parsed = parse_ini(text, "it")

        assert all(isinstance(values, list) for section in parsed.values() for values in section.values())


# ------------------------------------------------------------------------------------------------ precedence


def ini(**sections: dict[str, str]) -> Ini:
    return {name: {key: [value] for key, value in entries.items()} for name, entries in sections.items()}


LAYERS = [
    ({"flags": {"heat.region_name": "flag"}}, None, "flag"),
    ({"environ": {"OS_HEAT__REGION_NAME": "environment"}}, None, "environment"),
    ({}, {"heat": {"region_name": "metadata"}}, "metadata"),
    ({"files": (("new", ini(heat={"region_name": "file"})),)}, None, "file"),
    ({"files": (("new", {}), ("old", ini(heat={"region_name": "old file"})))}, None, "old file"),
    ({}, None, ""),
]


@pytest.mark.parametrize("first", range(len(LAYERS)))
def test_the_first_place_that_names_a_setting_wins(first: int) -> None:
    made: dict[str, object] = {"root": ROOT}
    overlay: JsonMap | None = None
    for given_, layer, _ in reversed(LAYERS[first:]):
        made |= given_
        overlay = layer or overlay

    assert LAYERS[first][2] == Given(**made).settings(overlay).heat_region_name  # type: ignore[arg-type]


def test_without_anything_every_setting_has_its_default() -> None:
    assert Settings(root=ROOT) == Given(ROOT).settings()


@pytest.mark.parametrize("name", recorded("bootstraps"))
def test_the_section_that_heat_sends_configures_its_collector(name: str) -> None:
    section = recorded("bootstraps")[name]
    [kind] = [key for key in section if key != "collectors"]

    made = Given(ROOT).settings(section)

    assert tuple(section["collectors"]) == made.collectors
    for key, value in section[kind].items():
        known = FIELDS[f"{kind}.{key}"]
        assert (
            (value,) == made_value
            if isinstance(made_value := getattr(made, known.name), tuple)
            else (value == made_value)
        )


def test_null_in_the_metadata_is_as_if_it_were_not_there() -> None:
    files = (("file", ini(heat={"region_name": "file"})),)

    assert "file" == Given(ROOT, files=files).settings({"heat": {"region_name": None}}).heat_region_name


def test_the_metadata_configures_collectors_and_nothing_else() -> None:
    overlay: JsonMap = {
        "hook_dirs": ["/tmp"],
        "DEFAULT": {"hook_timeout": 1},
        "local": {"path": ["/tmp"]},
        "heat_local": {"path": ["/tmp"]},
        "cfn": {"stack_name": "web"},
    }

    assert dataclasses.replace(Settings(root=ROOT), cfn_stack_name="web") == Given(ROOT).settings(overlay)


@given(JSON_MAPS | st.fixed_dictionaries({"cfn": JSON_MAPS, "heat": JSON_MAPS, "collectors": st.none()}))
def test_metadata_of_any_shape_gives_settings_or_a_settings_error(overlay: JsonMap) -> None:
    with suppress(SettingsError):
        assert isinstance(Given(ROOT).settings(overlay), Settings)


def test_lists_are_taken_from_repeated_keys_commas_and_lines() -> None:
    files: tuple[tuple[str, Ini], ...] = (
        ("it", parse_ini("collectors = cfn, heat\ncollectors = local\n  zaqar", "it")),
    )

    assert ("cfn", "heat", "local", "zaqar") == Given(ROOT, files=files).settings().collectors


def test_a_list_may_be_written_in_json_as_templates_render_it() -> None:
    files: tuple[tuple[str, Ini], ...] = (("it", parse_ini('collectors = ["cfn", "local"]\nhook_dirs = []', "it")),)

    made = Given(ROOT, files=files).settings()

    assert (("cfn", "local"), ()) == (made.collectors, made.hook_dirs)


def test_the_last_of_several_single_values_counts() -> None:
    files = (("it", parse_ini("max_parallel = 2\nmax_parallel = 3", "it")),)

    assert 3 == Given(ROOT, files=files).settings().max_parallel


def test_an_empty_number_is_the_default() -> None:
    assert 1 == Given(ROOT, flags={"max_parallel": ""}).settings().max_parallel


# --------------------------------------------------------------------------------------------------- faults

NUMBERS = [key for key, known in FIELDS.items() if isinstance(known.default, (int, float))]


@pytest.mark.parametrize("key", NUMBERS)
@pytest.mark.parametrize("value", ["soon", "-1", "inf", "nan", "1,5"])
def test_a_number_that_is_none_is_named_with_its_place(key: str, value: str) -> None:
    section, _, name = key.rpartition(".")
    files = (("/etc/a.conf", ini(**{section or "DEFAULT": {name: value}})),)

    with pytest.raises(SettingsError) as caught:
        Given(ROOT, files=files).settings()

    assert str(caught.value).startswith(f"setting {key} (/etc/a.conf): value '{value}' is no ")


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ({"flags": {"max_parallel": "x"}}, "flag"),
        ({"environ": {"OS_DEFAULT__MAX_PARALLEL": "x"}}, "environment"),
        ({"files": (("/etc/a.conf", ini(DEFAULT={"max_parallel": "x"})),)}, "/etc/a.conf"),
    ],
)
def test_the_place_of_a_fault_is_the_one_to_look_at(layer: dict[str, object], place: str) -> None:
    with pytest.raises(SettingsError, match=rf"setting max_parallel \({place}\)"):
        Given(ROOT, **layer).settings()  # type: ignore[arg-type]


def test_a_faulty_value_in_the_metadata_is_named_as_the_metadatas() -> None:
    with pytest.raises(SettingsError, match=r"setting cfn.polling_interval \(metadata, os-collect-config\)"):
        Given(ROOT).settings({"cfn": {"polling_interval": "often"}})


def test_secrets_are_not_in_a_representation() -> None:
    given_ = Given(
        ROOT,
        flags={"heat.password": "sesame1"},
        environ={"OS_CFN__SECRET_ACCESS_KEY": "sesame2"},
        files=(("it", ini(heat={"user_id": "sesame3"})),),
    )

    assert "sesame" not in repr(given_)
    assert "sesame1" not in repr(given_.settings())
    assert "sesame2" not in repr(given_.settings())


# --------------------------------------------------------------------------------------------- files, flags


def test_files_are_read_with_the_last_name_first_and_the_old_file_last(root: Path) -> None:
    directory = root / settings.CONFIG_DIR
    directory.mkdir(parents=True)
    (root / settings.OLD_CONFIG).write_text("[DEFAULT]\nmax_parallel = 1\nhook_grace = 1\nhook_timeout = 1\n")
    (directory / "10-a.conf").write_text("max_parallel = 2\nhook_grace = 2\n")
    (directory / "20-b.conf").write_text("max_parallel = 3\n")
    (directory / "ignored.txt").write_text("nonsense")

    made = Given(root, files=tuple(settings.read_files(root, {}))).settings()

    assert (3, 2.0, 1.0) == (made.max_parallel, made.hook_grace, made.hook_timeout)


def test_reading_again_takes_what_the_files_say_now(root: Path) -> None:
    file = root / settings.OLD_CONFIG
    file.parent.mkdir(parents=True)
    given_ = Given(root, flags={"hook_grace": "5"})
    file.write_text("max_parallel = 4\nhook_grace = 1\n")

    made = given_.reread().settings()

    assert (4, 5.0) == (made.max_parallel, made.hook_grace)


def test_a_file_that_is_no_text_is_a_settings_error(root: Path) -> None:
    file = root / settings.OLD_CONFIG
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\xff\xfe")

    with pytest.raises(SettingsError, match="make it readable UTF-8 text"):
        settings.read_files(root, {})


def test_every_setting_has_a_flag_of_its_own() -> None:
    flags = {settings.flag_of(key) for key in FIELDS}

    assert len(FIELDS) == len(flags)
    assert {"--heat-auth-url", "--max-parallel", "--cfn-secret-access-key"} <= flags
    assert all(known.metadata["help"] for known in FIELDS.values())


def test_paths_are_below_the_root() -> None:
    assert Path("/guest/var/lib/x") == Settings(root=ROOT).path("/var/lib/x") == Settings(root=ROOT).path("var/lib/x")
