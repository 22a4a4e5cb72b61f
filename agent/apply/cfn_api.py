"""Heat's CloudFormation API, asked for the description of one resource: where it is, who asks, what it says."""

from __future__ import annotations

import configparser
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlencode

from agent import answers, jsontext, urls
from agent.apply.cfn_metadata import DATA
from agent.aws import sign_v4
from agent.errors import MetadataError, Refused, SettingsError
from agent.model import JsonMap
from agent.transport import Client

PATIENCE_S = 30.0
_PORT = 8000


@dataclass(frozen=True, slots=True)
class Access:
    """Who asks, and where."""

    url: str
    access_key: str
    secret_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Resource:
    """What the API says of one resource."""

    metadata: JsonMap = field(repr=False)
    status: str = ""
    physical_id: str = ""


def credentials(path: Path) -> tuple[str, str]:
    """The key pair in a credential file. Raises SettingsError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"invalid credentials file {path}: {getattr(exc, 'strerror', 'not UTF-8')}") from exc
    pairs = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.lstrip().startswith("#"))
    found = {name.strip().lower(): value.strip() for name, value in pairs.items()}
    key, secret = found.get("awsaccesskeyid", ""), found.get("awssecretkey", "")
    if not key or not secret:
        raise SettingsError(f"invalid credentials file {path}: AWSAccessKeyId= and AWSSecretKey= are wanted in it")
    return key, secret


def endpoint(given: str) -> str:
    """The URL of the API: the given one, else host and port that cloud-init left, as heat-cfntools puts them together.

    Raises SettingsError when nothing names a host.
    """
    if given:
        return given if given.endswith("/") else f"{given}/"
    boto = _boto()
    server = _text(DATA / "cfn-metadata-server")
    named = urls.split(server if "://" in server else f"//{server}")
    host = boto.get("cfn_region_endpoint", "") or named.hostname or ""
    if not host:
        raise SettingsError(
            f"finding the CloudFormation API: no cfn-boto-cfg nor cfn-metadata-server in {DATA} names it; give --url"
        )
    scheme = "https" if boto.get("is_secure", "0").lower() in ("1", "true", "yes") else "http"
    port = server.rpartition(":")[2].rstrip("/")
    return f"{scheme}://{host}:{port if port.isdecimal() else _PORT}/v1/"


def _boto() -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(DATA / "cfn-boto-cfg"))
    except configparser.Error as exc:
        raise SettingsError(f"reading {DATA}/cfn-boto-cfg: {exc.message}") from exc
    return dict(parser["Boto"]) if parser.has_section("Boto") else {}


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):  # cloud-init left none
        return ""


def describe(client: Client, access: Access, stack: str, resource: str) -> Resource | None:
    """Ask the API, again while it does not answer; None when the stack has no such resource any more."""
    query = {
        "Action": "DescribeStackResource",
        "ContentType": "JSON",
        "LogicalResourceId": resource,
        "StackName": stack,
        "Version": "2010-05-15",
    }
    url = f"{access.url}?{urlencode(query)}"

    def attempt() -> bytes:
        now = datetime.now(timezone.utc)
        signed = sign_v4("GET", url, b"", access.access_key, access.secret_key, now=now)
        return client.request("GET", url, headers={**signed, "Accept": "application/json"}).body

    try:
        answer = answers.persist(attempt, deadline_s=PATIENCE_S)
    except Refused as exc:
        if exc.status == 404 or "could not be found" in str(exc):
            return None
        raise
    return _parsed(answer, resource)


def _parsed(answer: bytes, resource: str) -> Resource | None:
    what = f"the description of {resource} by the CloudFormation API"
    match jsontext.decode_map(answer, what):
        case {
            "DescribeStackResourceResponse": {"DescribeStackResourceResult": {"StackResourceDetail": dict() as detail}}
        }:
            status, metadata = detail.get("ResourceStatus"), detail.get("Metadata") or {}
        case _:
            raise MetadataError(f"reading {what}: it has no StackResourceDetail; is the URL right?")
    if status == "DELETE_COMPLETE":
        return None
    if isinstance(metadata, str):
        metadata = jsontext.decode_map(metadata.encode(), f"the metadata of {resource}")
    if not isinstance(metadata, dict):
        raise MetadataError(f"reading {what}: its metadata is no object")
    return Resource(metadata, str(status or ""), str(detail.get("PhysicalResourceId") or ""))
