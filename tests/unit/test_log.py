"""Secrets that somebody logged all the same do not reach the log."""

import json

import pytest

from agent import log, masking

SECRET = "s3same%&#"


@pytest.mark.parametrize(
    "text",
    [
        f"http://heat/v1/signal/arn?AWSAccessKeyId=key&Signature={SECRET}",
        f"http://swift/v1/x?temp_url_sig={SECRET}",
        f"GET http://user:{SECRET}@heat/v1",
        f"https://{SECRET}@heat/v1",
        f"X-Auth-Token: {SECRET}",
        f'{{"password": "{SECRET}"}}',
        f"{{'password': '{SECRET}'}}",
        f"password={SECRET};",
        f"token = {SECRET}",
        f"X-Amz-Signature={SECRET}",
    ],
)
def test_a_secret_in_a_text_is_masked(text: str) -> None:
    shown = masking.text(text)

    assert SECRET.partition("&")[0] not in shown
    assert masking.MASK in shown


@pytest.mark.parametrize("text", ["", "deployment ended", "http://heat:8000/v1/", "status=3", "a@b, c"])
def test_plain_text_is_left_alone(text: str) -> None:
    assert text == masking.text(text)


def test_events_are_json_lines_without_secrets(capsys: pytest.CaptureFixture[str], fresh_log: None) -> None:
    log.warning("planted", deploy_password=SECRET, url=f"http://x/?Signature={SECRET}", deployment="d1", tries=3)

    [line] = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert "sesame" not in line
    assert SECRET.partition("&")[0] not in line
    assert ("planted", "warning", "d1", 3) == (event["event"], event["level"], event["deployment"], event["tries"])
    assert masking.MASK == event["deploy_password"]


@pytest.mark.parametrize(
    "name", ["password", "deploy_password", "secret_access_key", "token", "deploy_signal_id", "Signature", "passwd"]
)
def test_a_field_with_a_secret_name_is_masked(name: str, capsys: pytest.CaptureFixture[str], fresh_log: None) -> None:
    log.error("planted", **{name: SECRET})

    assert SECRET not in capsys.readouterr().err


def test_what_is_below_the_level_is_not_written(capsys: pytest.CaptureFixture[str], fresh_log: None) -> None:
    log.set_level("error")

    log.warning("quiet")
    log.error("loud")

    assert ["loud"] == [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]


@pytest.fixture
def fresh_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log that writes to the present stderr: the process's own was made for an earlier test's."""
    monkeypatch.setattr(log, "_log", log.Log())
