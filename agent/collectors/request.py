"""Metadata as JSON at any URL: a Swift temporary URL (POLL_TEMP_URL), a static web server, `agent serve`.

A conditional GET: with nothing new the answer is 304 and nothing is parsed.
"""

from __future__ import annotations

from agent import jsontext, parse
from agent.errors import Unavailable
from agent.identity import Tokens
from agent.model import Document
from agent.settings import Settings
from agent.transport import Client, show

# the answer's validators and the request headers that return them (RFC 9110 13.1)
_VALIDATORS = {"etag": "If-None-Match", "last-modified": "If-Modified-Since"}


def configured(settings: Settings) -> bool:
    return bool(settings.request_metadata_url)


def collect(
    settings: Settings, client: Client, _tokens: Tokens, previous: tuple[Document, ...]
) -> tuple[Document, ...]:
    url = settings.request_metadata_url
    known = previous[0].validator if previous else {}
    asked = {_VALIDATORS[name]: value for name, value in known.items() if name in _VALIDATORS}
    response = client.request("GET", url, headers={"Accept": "application/json", **asked})
    if response.status == 304 and previous:
        return previous
    if response.status // 100 != 2:
        raise Unavailable(f"GET {show(url)}: answered {response.status}, a document is wanted")
    content = jsontext.decode_map(response.body, show(url))
    validator = {name: response.headers[name] for name in _VALIDATORS if name in response.headers}
    return (parse.document("request", content, validator=validator),)
