"""Signed requests as a real Heat took them."""

from datetime import datetime, timezone
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from agent.aws import sign_s3, sign_v2, sign_v4
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


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_a_download_from_s3_has_the_signature_of_amazons_own_example(query: str, signature: str) -> None:
    """The examples of Amazon S3's API reference, Signature Calculations for the Authorization Header."""
    headers = sign_s3(
        f"https://examplebucket.s3.amazonaws.com/?{query}",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        now=datetime(2013, 5, 24, tzinfo=timezone.utc),
    )

    assert headers["Authorization"].endswith(f"Signature={signature}")


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
