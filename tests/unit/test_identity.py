"""The catalogue of a token, and how a Keystone is named."""

from typing import Any

import pytest

from agent.errors import Unavailable
from agent.identity import Token, keystone_v3


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
