"""Fetching what files and archives name by URL, with the credentials of `AWS::CloudFormation::Authentication`.

Credentials go to the servers that they are meant for and to no other, not even after a redirect.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

from agent import transport
from agent.apply.cfn_model import Credentials
from agent.errors import ApplyError
from agent.transport import Client, Limits

Fetch: TypeAlias = Callable[[str, str], bytes]
"""Gives what a URL serves; the second argument names credentials, "" for those that fit."""

LIMITS = Limits(connect_s=10.0, read_s=60.0, total_s=1800.0, size=1 << 30)
PATIENCE_S = 30.0
_DEFAULT_REGION = "us-east-1"  # what S3 servers that know no regions answer to


def fetcher(client: Client, credentials: Mapping[str, Credentials]) -> Fetch:
    """A Fetch over this client."""

    def fetch(url: str, name: str) -> bytes:
        parts = urlsplit(url)
        if parts.scheme == "file":
            return _read(Path(unquote(parts.path)))
        chosen = credentials[name] if name else fitting(url, credentials)
        headers = {} if chosen is None else sign_in(url, chosen, datetime.now(timezone.utc))
        response = transport.persist(
            lambda: client.request("GET", url, headers=headers, elsewhere=True), deadline_s=PATIENCE_S
        )
        return response.body

    return fetch


def fitting(url: str, credentials: Mapping[str, Credentials]) -> Credentials | None:
    """The first credentials that name the server (basic) or the bucket (S3) of a URL."""
    return next((given for given in credentials.values() if given.places and _meant_for(url, given)), None)


def sign_in(url: str, credentials: Credentials, now: datetime) -> dict[str, str]:
    """The headers that sign a GET in, none where the credentials are not meant for that server."""
    if credentials.places and not _meant_for(url, credentials):
        return {}
    if credentials.kind == "basic":
        pair = f"{credentials.user}:{credentials.secret}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return _s3(url, credentials, now)


def _meant_for(url: str, credentials: Credentials) -> bool:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2].lower()
    if credentials.kind == "basic":
        wanted = {urlsplit(place if "://" in place else f"//{place}").netloc.lower() for place in credentials.places}
        return bool({host, parts.hostname} & wanted)
    buckets = {host.partition(".")[0], parts.path.lstrip("/").partition("/")[0]}
    return bool(buckets & set(credentials.places))


def _s3(url: str, credentials: Credentials, now: datetime) -> dict[str, str]:
    """Signature version 4 of a GET without a body, as S3 wants it: the path as it stands in the URL."""
    parts = urlsplit(url)
    moment, empty = now.strftime("%Y%m%dT%H%M%SZ"), hashlib.sha256(b"").hexdigest()
    host = parts.netloc.rpartition("@")[2]
    signed = "host;x-amz-content-sha256;x-amz-date"
    query = "&".join(sorted(pair if "=" in pair else f"{pair}=" for pair in parts.query.split("&") if pair))
    headers = f"host:{host}\nx-amz-content-sha256:{empty}\nx-amz-date:{moment}\n"
    request = "\n".join(("GET", parts.path or "/", query, headers, signed, empty))
    scope = f"{moment[:8]}/{_DEFAULT_REGION}/s3/aws4_request"
    text = "\n".join(("AWS4-HMAC-SHA256", moment, scope, hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{credentials.secret}".encode()
    for part in scope.split("/"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    authorization = f"Credential={credentials.user}/{scope}, SignedHeaders={signed}, Signature={signature}"
    return {
        "Authorization": f"AWS4-HMAC-SHA256 {authorization}",
        "X-Amz-Date": moment,
        "X-Amz-Content-Sha256": empty,
        "Host": host,
    }


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ApplyError(f"reading {path}: {exc.strerror}") from exc
