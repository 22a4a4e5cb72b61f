"""Requests signed as AWS does: EC2 signature version 2, and version 4 as Heat and S3 check it.

Pure functions. The rules are heat/api/aws/ec2token.py's and those of AWS's signature documents; the results were
compared with botocore's byte by byte.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import datetime, timezone
from urllib.parse import parse_qsl, quote, unquote

from agent import urls

S3_REGION = "us-east-1"  # what S3 servers that know no regions answer to


def sign_v2(
    method: str, url: str, parameters: Mapping[str, str], access_key: str, secret_key: str, *, timestamp: str = ""
) -> str:
    """`url` with a query of `parameters` signed by EC2 signature version 2.

    Without a `timestamp` (ISO 8601) the signature never expires (keystone/api/_shared/EC2_S3_Resource.py). The path
    is signed unquoted, as Heat's WSGI server hands it on, while the URL keeps it as it came.
    """
    parts = urls.split(url)
    query = {
        **parameters,
        "AWSAccessKeyId": access_key,
        "SignatureMethod": "HmacSHA256",
        "SignatureVersion": "2",
        **({"Timestamp": timestamp} if timestamp else {}),
    }
    canonical = "&".join(f"{_escape(name)}={_escape(value)}" for name, value in sorted(query.items()))
    text = "\n".join((method, _host(url), unquote(parts.path) or "/", canonical))
    signature = base64.b64encode(hmac.new(secret_key.encode(), text.encode(), hashlib.sha256).digest()).decode()
    return f"{parts.scheme}://{parts.netloc}{parts.path or '/'}?{canonical}&Signature={_escape(signature)}"


def sign_v4(
    method: str,
    url: str,
    body: bytes,
    access_key: str,
    secret_key: str,
    *,
    now: datetime,
    region: str = "RegionOne",
    service: str = "cloudformation",
) -> dict[str, str]:
    """The headers (Authorization, X-Amz-Date, Host) of a request signed by version 4, as Heat checks it."""
    parts = urls.split(url)
    pairs = sorted(parse_qsl(parts.query, keep_blank_values=True))
    query = "&".join(f"{_escape(name)}={_escape(value)}" for name, value in pairs)
    headers = {"Host": _host(url), "X-Amz-Date": _moment(now)}
    what = (method, unquote(parts.path) or "/", query, hashlib.sha256(body).hexdigest())
    return _signed(what, headers, (region, service), access_key, secret_key)


def sign_s3(url: str, access_key: str, secret_key: str, *, now: datetime) -> dict[str, str]:
    """The headers of a GET signed by version 4, as S3 checks it: the path as it stands in the URL, the body named."""
    parts = urls.split(url)
    query = "&".join(sorted(pair if "=" in pair else f"{pair}=" for pair in parts.query.split("&") if pair))
    empty = hashlib.sha256(b"").hexdigest()
    headers = {"Host": parts.netloc.rpartition("@")[2], "X-Amz-Content-Sha256": empty, "X-Amz-Date": _moment(now)}
    what = ("GET", parts.path or "/", query, empty)
    return _signed(what, headers, (S3_REGION, "s3"), access_key, secret_key)


def _signed(
    what: tuple[str, str, str, str], headers: Mapping[str, str], place: tuple[str, str], access_key: str, secret: str
) -> dict[str, str]:
    """The headers given, and Authorization over them and `what`: the method, path, query and digest of the body."""
    method, path, query, digest = what
    lines = "".join(f"{name.lower()}:{value}\n" for name, value in sorted(headers.items()))
    names = ";".join(sorted(name.lower() for name in headers))
    request = "\n".join((method, path, query, lines, names, digest))
    moment = headers["X-Amz-Date"]
    scope = (moment[:8], *place, "aws4_request")
    text = "\n".join(("AWS4-HMAC-SHA256", moment, "/".join(scope), hashlib.sha256(request.encode()).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in scope:
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
    credential = f"{access_key}/{'/'.join(scope)}"
    return {
        **headers,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}",
    }


def _moment(now: datetime) -> str:
    return now.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ")


def _host(url: str) -> str:
    """host[:port] as it is signed: lower case, without the scheme's own port."""
    parts = urls.split(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    usual = {"http": 80, "https": 443}.get(parts.scheme)
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"


def _escape(text: str) -> str:
    return quote(text, safe="-_.~")
