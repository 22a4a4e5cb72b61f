"""One function masks, whatever a secret stands in."""

import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import masking
from tests.unit.values import JSON, heat_input, recorded

# a secret as tools make them; nothing a text around it could hold by chance
SECRETS = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~+-", min_size=12, max_size=40).map(lambda word: f"q7{word}Zx")

PLACES: dict[str, Callable[[str], str]] = {
    "a pre-signed URL of Heat": lambda s: f"http://heat:8000/v1/signal/arn?SignatureVersion=2&Signature={s} failed",
    "the key id in it": lambda s: f"http://heat/v1/signal/arn?AWSAccessKeyId={s}&SignatureMethod=HmacSHA256",
    "a Swift URL": lambda s: f"PUT https://swift/v1/c/o?temp_url_sig={s}&temp_url_expires=2147483646",
    "a query nobody knows": lambda s: f"see https://example.org/x?sharing={s}.",
    "the user of a URL": lambda s: f"git clone https://{s}@example.org/repo",
    "the password of a URL": lambda s: f"fatal: https://user:{s}@example.org/repo not found",
    "a header": lambda s: f"> X-Auth-Token: {s}\n> Accept: */*",
    "a bearer": lambda s: f"curl -H 'Authorization: Bearer {s}' http://x/",
    "basic authentication": lambda s: f"Proxy-Authorization: Basic {s}",
    "a cookie": lambda s: f"Set-Cookie: session={s}; Path=/",
    "an assignment": lambda s: f"export OS_PASSWORD={s}",
    "a setting": lambda s: f"secret_access_key = {s}",
    "a quoted assignment": lambda s: f"DB_PASSWORD='{s} and {s}'",
    "a quoted assignment that was cut off": lambda s: f'DB_PASSWORD="{s} {s}',
    "a flag": lambda s: f"mysql --user root --password {s}",
    "a flag with an equals sign": lambda s: f"tool --api-key={s} --verbose",
    "YAML with blanks": lambda s: f"user: root\nadmin_password: {s} {s}\nport: 1",
    "JSON": lambda s: json.dumps({"os": {"admin_token": s}}),
    "JSON within JSON": lambda s: json.dumps({"config": json.dumps({"password": s})}),
    "the form of Python": lambda s: repr({"passwd": s}),
    "a private key": lambda s: f"-----BEGIN RSA PRIVATE KEY-----\n{s}\n-----END RSA PRIVATE KEY-----",
    "a private key cut off": lambda s: f"-----BEGIN PRIVATE KEY-----\n{s}\n{s}",
}


@pytest.mark.parametrize("place", PLACES)
@given(secret=SECRETS)
def test_no_secret_shows_through_a_text(place: str, secret: str) -> None:
    shown = masking.text(PLACES[place](secret))

    assert secret not in shown
    assert masking.MASK in shown


@pytest.mark.parametrize(
    "known",
    [
        "gAAAAABpH8xN3Wn2mYb5Q1x6qLkZr0VtUuPpSsDdFfGg",
        "AKIAIOSFODNN7EXAMPLE",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
        "$6$saltsalt$aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789",
    ],
)
def test_a_key_of_known_form_is_masked_wherever_it_stands(known: str) -> None:
    assert f"it was {masking.MASK} here" == masking.text(f"it was {known} here")


@given(secret=SECRETS, name=st.sampled_from(["password", "deploy_signal_id", "db_password", "AdminToken", "my_secret"]))
def test_an_input_of_a_secret_name_is_masked_whatever_its_value(name: str, secret: str) -> None:
    inputs = [heat_input(name, secret), heat_input(name, [{"a": secret}], "Json")]

    assert secret not in json.dumps(masking.value({"inputs": inputs, name: {"deep": [secret]}}))


@given(secret=SECRETS)
def test_an_input_of_a_secret_type_is_masked(secret: str) -> None:
    shown = masking.value({"name": "x", "type": "Secret", "value": secret, "default": secret})

    assert {"name": "x", "type": "Secret", "value": masking.MASK, "default": masking.MASK} == shown


@given(st.text() | st.sampled_from(sorted(PLACES)).map(lambda place: PLACES[place]("q7abcdefghijkZx")))
def test_masking_twice_is_masking_once(text: str) -> None:
    once = masking.text(text)

    assert once == masking.text(once)


@given(JSON)
def test_the_shape_of_a_document_stays(content: object) -> None:
    shown = masking.value(content)  # type: ignore[arg-type]

    assert type(content) is type(shown) or shown == masking.MASK
    assert masking.value(shown) == shown


@pytest.mark.parametrize(
    "plain",
    [
        "",
        "deployment ended with status 3",
        "http://heat:8000/v1/stacks/web/resources/deployment",
        "a@b.example, c",
        "tokens are kept; the password was wrong",
        "cookies and signatures",
        "Basic needs",
        "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----",
        "temp_url_expires=2147483646",
        "polling_interval = 30",
    ],
)
def test_plain_text_is_left_alone(plain: str) -> None:
    assert plain == masking.text(plain)


@pytest.mark.parametrize("nothing", [None, "", [], {}])
def test_that_nothing_was_given_is_shown(nothing: object) -> None:
    assert nothing == masking.value(nothing, "password")  # type: ignore[arg-type]


def test_what_heat_sends_loses_its_credentials_and_keeps_the_rest() -> None:
    for name, document in recorded("documents").items():
        shown = json.dumps(masking.value(document))

        for deployment in document["deployments"]:
            for given_input in deployment["inputs"]:
                value = given_input["value"]
                if given_input["name"] in ("deploy_signal_id", "deploy_password") and value:
                    assert json.dumps(value) not in shown, name
                elif isinstance(value, str):
                    assert json.dumps(value) in shown, (name, given_input["name"])
