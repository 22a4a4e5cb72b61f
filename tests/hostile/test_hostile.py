"""A slice of each door, the same every time; `make hostile` goes on from here. What was found stays below."""

from __future__ import annotations

import io
import json
import os
import signal
import zipfile
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import strategies as st

from agent import jsontext, yamltext
from agent.answers import clock_skew, retry_after
from agent.apply import cfn_sources, render
from agent.errors import AgentError, ApplyError, MetadataError, SettingsError, Unavailable
from agent.hooks import reading
from agent.model import Json
from agent.parse import deployment
from agent.settings import Given
from agent.transport import Client, Limits, show
from tests.fakes import Peer, Raw
from tests.hostile.doors import DOORS
from tests.hostile.judge import Door, inspect
from tests.hostile.material import YAML

EXAMPLES = 3


@pytest.mark.parametrize("name", DOORS)
def test_what_an_outsider_sends_ends_in_a_result_or_an_error_of_ours(name: str) -> None:
    assert "" == inspect(DOORS[name], seed=0, examples=EXAMPLES, seconds=60.0)


def crash(_sent: int, _scratch: Path) -> None:
    raise KeyError("a bug")


def swell(_sent: int, _scratch: Path) -> None:
    bytes(300 << 20)


def vanish(_sent: int, _scratch: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("bad", "said"),
    [(crash, "KeyError: 'a bug'"), (swell, "MemoryError"), (vanish, "ended with -9")],
)
def test_a_door_that_breaks_a_law_is_found(bad: object, said: str) -> None:
    assert said in inspect(Door("bad", st.just(1), bad), seed=0, examples=1, seconds=60.0)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------- what was found


def test_an_answer_that_claims_a_length_of_thousands_of_digits_is_too_long() -> None:
    with closing(Peer()) as peer, closing(Client(Limits(size=1 << 20))) as client:
        peer.answers["/x"] = Raw([b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n{}"])

        with pytest.raises(Unavailable, match="see max_document"):
            client.request("GET", f"{peer.url}/x")


def test_a_piece_of_negative_length_is_no_answer() -> None:
    with closing(Peer()) as peer, closing(Client(Limits(2.0, 2.0, 5.0))) as client:
        peer.answers["/x"] = Raw([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-11\r\n\r\n"])

        with pytest.raises(Unavailable, match="no HTTP"):
            client.request("GET", f"{peer.url}/x")


@pytest.mark.parametrize("target", ["http://[::1", "//[", "http://127.0.0.1:99999/"])
def test_a_redirect_to_what_is_no_url_is_an_answer_that_cannot_be_used(target: str) -> None:
    with closing(Peer()) as peer, closing(Client(Limits())) as client:
        peer.answers["/x"] = Raw([f"HTTP/1.1 302 Found\r\nLocation: {target}\r\n\r\n".encode()])

        with pytest.raises(AgentError, match="redirect"):
            client.request("GET", f"{peer.url}/x")


@pytest.mark.parametrize("url", ["http://[", "http://h:99999/x", "http://h:x/", "http:u:sesame@h"])
def test_half_an_address_is_a_fault_of_the_settings_and_shows_no_password(url: str) -> None:
    with closing(Client(Limits())) as client, pytest.raises(SettingsError, match="not an http or https URL"):
        client.request("GET", url)

    assert "(no URL)" == show(url)


def test_a_host_with_too_long_a_name_is_unavailable() -> None:
    with closing(Client(Limits())) as client, pytest.raises(Unavailable):
        client.request("GET", f"http://{'x' * 5000}/")


def test_a_project_whose_name_fits_no_header_is_a_fault_of_the_settings() -> None:
    with closing(Peer()) as peer, closing(Client(Limits())) as client, pytest.raises(SettingsError, match="headers"):
        client.request("GET", f"{peer.url}/x", headers={"X-Project-Id": "\u0663"})


@pytest.mark.parametrize("date", ["Thu, 01 Jan 1970 00:00:00 +9999999999999", "Mon, 99 Jan 99999 99:99:99"])
def test_a_time_beyond_all_calendars_says_nothing(date: str) -> None:
    assert (0.0, 0.0) == (retry_after({"retry-after": date}), clock_skew({"date": date}))


@pytest.mark.parametrize("text", YAML)
def test_yaml_that_would_swell_or_crash_is_read_or_refused_at_once(text: bytes) -> None:
    told = deployment({"id": "d", "config": text.decode("utf-8", "replace")})

    try:
        found = reading.config_map(told)
    except MetadataError:
        return
    assert len(json.dumps(found)) < 1 << 20


@pytest.mark.parametrize("text", ["a: !!int ''", "a: !!bool x", "a: !!timestamp x", "a: 2026-99-99"])
def test_a_value_that_does_not_fit_its_tag_is_a_fault_of_the_document(text: str) -> None:
    with pytest.raises(MetadataError, match="neither JSON nor YAML"):
        yamltext.decode(text, "it")


def test_a_number_of_a_thousand_digits_in_yaml_is_refused() -> None:
    with pytest.raises(MetadataError, match="put it into quotes"):
        yamltext.decode("a: 1" + ":1" * 500_000, "it")


def test_sections_in_sections_have_an_end() -> None:
    many: Json = [[1] * 100] * 100

    with pytest.raises(ApplyError, match="more than"):
        render.render("{{#a}}{{#a}}{{#a}}{{#a}}x{{/a}}{{/a}}{{/a}}{{/a}}", {"a": many})


def test_a_template_of_ten_thousand_elements_is_filled_in() -> None:
    metadata: Json = {"a": [{"n": number} for number in range(10_000)]}

    assert 10_000 == render.render("{{#a}}{{n}} {{x}}{{#n}}\n{{/n}}{{/a}}\n", metadata).count(" ")


def test_a_member_of_a_zip_without_a_name_is_damage(tmp_path: Path) -> None:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr(zipfile.ZipInfo(""), b"x")
    (tmp_path / "a.zip").write_bytes(made.getvalue())

    with pytest.raises(ApplyError):
        cfn_sources.extract(tmp_path / "a.zip", "http://cloud.invalid/a.zip", tmp_path / "d")


@pytest.mark.parametrize("section", [{"heat": {"auth_url": []}}, {"cfn": {"stack_name": []}}])
def test_an_empty_list_in_the_metadatas_settings_sets_nothing(section: dict[str, Json], root: Path) -> None:
    assert Given(root).settings() == Given(root).settings(section)


def test_half_a_character_in_what_names_a_place_is_replaced(root: Path) -> None:
    inputs: Json = [{"name": "deploy_resource_name", "value": "a\ud800"}, {"name": "deploy_stack_id", "value": "s/1"}]

    told = deployment({"id": "d", "name": "\udfff", "group": "x\ud800", "inputs": inputs})

    assert ("a\ufffd", "\ufffd", "x\ufffd") == (told.endpoint.resource_name, told.name, told.group)
    assert "u\ufffd" == Given(root).settings({"heat": {"user_id": "u\ud800"}}).heat_user_id
    assert {"\U0001f600": ["\ufffd"]} == jsontext.whole({"\ud83d\ude00": ["\ud800"]})
