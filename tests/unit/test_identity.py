"""Signed requests as a real Heat took them, and the catalogue of a token."""

from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from agent.errors import Unavailable
from agent.identity import Token, keystone_v3, sign_v2, sign_v4
from tests.unit.values import recorded

EXCHANGES = recorded("exchanges")
KEYS = recorded("bootstraps")["poll_server_cfn+cfn_signal"]["cfn"]


def taken(conversation: str, note: str) -> Any:
    return next(e["request"] for e in EXCHANGES[conversation] if e["note"] == note)


def test_a_poll_is_signed_as_heat_took_it() -> None:
    url = taken("poll_server_cfn+cfn_signal", "poll")["url"]
    asked = {
        "Action": "DescribeStackResource",
        "StackName": KEYS["stack_name"],
        "LogicalResourceId": KEYS["path"].partition(".")[0],
    }

    signed = sign_v2("GET", KEYS["metadata_url"], asked, KEYS["access_key_id"], KEYS["secret_access_key"])

    assert parse_qs(urlsplit(url).query) == parse_qs(urlsplit(signed).query)
    assert urlsplit(url)[:3] == urlsplit(signed)[:3]


def odd_keys() -> tuple[str, str]:
    """The key pair of the stack in which the odd requests were recorded: its own document names it."""
    import json
    from xml.etree import ElementTree

    answer = next(e["response"]["body"] for e in EXCHANGES["odd requests, cfn"] if e["note"] == "signed")
    text = ElementTree.fromstring(answer).findtext("DescribeStackResourceResult/StackResourceDetail/Metadata")
    cfn = json.loads(str(text))["os-collect-config"]["cfn"]
    return cfn["access_key_id"], cfn["secret_access_key"]


def test_a_poll_with_a_timestamp_is_signed_as_heat_took_it() -> None:
    access, secret = odd_keys()
    parts = urlsplit(taken("odd requests, cfn", "Timestamp 14 minutes ago")["url"])
    query = dict(parse_qsl(parts.query))
    own = {"AWSAccessKeyId", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp"}

    signed = sign_v2(
        "GET",
        f"{parts.scheme}://{parts.netloc}{parts.path}",
        {name: value for name, value in query.items() if name not in own},
        access,
        secret,
        timestamp=query["Timestamp"],
    )

    assert query == dict(parse_qsl(urlsplit(signed).query))


def test_version_4_headers_are_those_that_heat_took() -> None:
    access, secret = odd_keys()
    request = taken("odd requests, cfn", "signature version 4 in headers")
    moment = datetime.strptime(request["headers"]["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=timezone.utc)

    headers = sign_v4("GET", request["url"], b"", access, secret, now=moment)

    assert request["headers"] == {name: headers[name] for name in request["headers"]}


def test_version_4_gives_the_signature_of_amazons_own_test_suite() -> None:
    """The case get-vanilla of the AWS Signature Version 4 test suite."""
    headers = sign_v4(
        "GET",
        "https://example.amazonaws.com/",
        b"",
        "AKIDEXAMPLE",
        "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        now=datetime(2015, 8, 30, 12, 36, tzinfo=timezone.utc),
        region="us-east-1",
        service="service",
    )

    assert headers["Authorization"].endswith(
        "Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
    )


def test_a_quoted_path_stays_quoted_in_the_url_and_is_signed_unquoted() -> None:
    quoted = sign_v2("POST", "http://heat:8000/v1/signal/arn%3Aopenstack", {}, "key", "secret")
    plain = sign_v2("POST", "http://heat:8000/v1/signal/arn:openstack", {}, "key", "secret")

    assert quoted.startswith("http://heat:8000/v1/signal/arn%3Aopenstack?")
    assert parse_qs(urlsplit(plain).query) == parse_qs(urlsplit(quoted).query)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://HEAT/v1/", "http://heat:80/v1/"),
        ("https://heat/v1/", "https://heat:443/v1/"),
        ("http://heat", "http://heat/"),
    ],
)
def test_a_host_is_signed_in_lower_case_without_the_usual_port(one: str, other: str) -> None:
    first, second = (parse_qs(urlsplit(sign_v2("GET", url, {}, "k", "s")).query) for url in (one, other))

    assert first == second


def test_verb_host_port_path_parameters_and_secret_are_all_signed() -> None:
    signed = {
        sign_v2(verb, url, query, "k", secret).rpartition("Signature=")[2]
        for verb, url, query, secret in [
            ("GET", "http://heat:8000/v1/", {"A": "1"}, "s"),
            ("POST", "http://heat:8000/v1/", {"A": "1"}, "s"),
            ("GET", "http://hot:8000/v1/", {"A": "1"}, "s"),
            ("GET", "http://heat:8001/v1/", {"A": "1"}, "s"),
            ("GET", "http://heat:8000/v2/", {"A": "1"}, "s"),
            ("GET", "http://heat:8000/v1/", {"A": "2"}, "s"),
            ("GET", "http://heat:8000/v1/", {"A": "1"}, "t"),
        ]
    }

    assert 7 == len(signed)


# ------------------------------------------------------------------------------------------------ catalogue


def catalogue(*endpoints: dict[str, Any], kind: str = "orchestration") -> Token:
    return Token("t", 0.0, ({"type": "identity", "endpoints": []}, {"type": kind, "endpoints": list(endpoints)}))


ONE = {"interface": "public", "region_id": "One", "url": "http://one/v1/"}
TWO = {"interface": "public", "region": "Two", "url": "http://two/v1"}
INTERNAL = {"interface": "internal", "region_id": "One", "url": "http://internal/v1"}


def test_the_public_endpoint_of_the_region_is_taken() -> None:
    token = catalogue(INTERNAL, ONE, TWO)

    assert ("http://one/v1", "http://two/v1") == (
        token.endpoint("orchestration", "One"),
        token.endpoint("orchestration", "Two"),
    )


def test_without_a_region_the_first_endpoint_is_taken() -> None:
    assert "http://one/v1" == catalogue(INTERNAL, ONE, TWO).endpoint("orchestration", "")


@pytest.mark.parametrize(
    ("token", "region", "said"),
    [
        (catalogue(ONE, TWO), "Three", "in region Three: the catalogue has it in: One, Two; see region_name"),
        (catalogue(INTERNAL), "", "in region (any): the catalogue has it in: none"),
        (catalogue(ONE, kind="messaging"), "One", "the catalogue has it in: none"),
        (Token("t", 0.0), "", "the catalogue has it in: none"),
        (Token("t", 0.0, ({"type": "orchestration", "endpoints": None},)), "", "none"),
    ],
)
def test_a_service_that_is_not_there_is_named_with_the_regions_that_are(token: Token, region: str, said: str) -> None:
    with pytest.raises(Unavailable) as caught:
        token.endpoint("orchestration", region)

    assert said in str(caught.value)


@pytest.mark.parametrize("url", ["http://k:5000", "http://k:5000/", "http://k:5000/v3", "http://k:5000/v2.0/"])
def test_any_identity_url_leads_to_version_3(url: str) -> None:
    assert "http://k:5000/v3" == keystone_v3(url)


def test_a_token_is_not_in_its_representation() -> None:
    assert "sesame" not in repr(Token("sesame", 0.0, ({"url": "sesame"},)))
