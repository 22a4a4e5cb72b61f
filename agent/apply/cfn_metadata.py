"""Where the metadata of a resource comes from: Heat's CloudFormation API, or what was seen last, or what came at boot.

The files are those of heat-cfntools. What is half-written or damaged is passed over, and nothing is left half-written.
"""

from __future__ import annotations

import configparser
import json
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from agent import answers, jsontext, state
from agent.apply.cfn_programs import Tell
from agent.errors import MetadataError, Refused, SettingsError, StateError
from agent.identity import sign_v4
from agent.model import Json, JsonMap
from agent.transport import Client

DATA = Path("/var/lib/heat-cfntools")
CACHE = Path("/var/cache/heat-cfntools")
LEAKY_COPY = Path("/var/lib/cloud/data/cfn-init-data")
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
    named = urlsplit(server if "://" in server else f"//{server}")
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


# ------------------------------------------------------------------------------------------- on the guest


def last_seen(resource: str) -> Path:
    return CACHE / (f"last_metadata_{_safe(resource)}" if resource else "last_metadata")


def local(resource: str, tell: Tell) -> JsonMap:
    """What was seen last, else what came at boot. Raises MetadataError when none of it can be read."""
    paths = dict.fromkeys((last_seen(resource), last_seen(""), DATA / "cfn-init-data"))
    for path in paths:
        try:
            return jsontext.decode_map(path.read_bytes(), str(path))
        except FileNotFoundError:
            continue
        except OSError as exc:
            tell(f"metadata in {path} passed over: {exc.strerror}")
        except MetadataError as exc:
            tell(f"metadata passed over: {exc}")
    raise MetadataError(
        f"Unable to read any valid metadata: none in {', '.join(map(str, paths))}; give credentials or a file"
    )


def seen(resource: str) -> JsonMap | None:
    """What was seen last of this very resource, None when nothing was."""
    try:
        return jsontext.decode_map(last_seen(resource).read_bytes(), str(last_seen(resource)))
    except (OSError, MetadataError):
        return None


def remember(resource: str, metadata: JsonMap, tell: Tell) -> None:
    """Keep what was seen; a disk that refuses it is told of and stops nothing."""
    try:
        state.make_directory(CACHE)
        for path in dict.fromkeys((last_seen(""), last_seen(resource))):
            state.write(path, json.dumps(metadata).encode())
    except StateError as exc:
        tell(f"metadata not remembered: {exc}")


def leak() -> str:
    """A word of warning about a copy of the boot data that everybody may read, "" when there is none."""
    try:
        readable = LEAKY_COPY.stat().st_mode & 0o004
    except OSError:
        return ""
    return f"every user may read {LEAKY_COPY}, and the secrets in it; chmod 600 it" if readable else ""


def _safe(resource: str) -> str:
    return resource.replace("/", "%2f")


# ----------------------------------------------------------------------------------------------- dotted keys


def key_parts(text: str) -> tuple[str, ...]:
    r"""The names in a dotted key; a dot within one is quoted ('a.b'.c) or escaped (a\.b.c)."""
    parts, part, quote, escaped = [], "", "", False
    for char in text:
        if escaped:
            part, escaped = part + (char if char in ".\\'\"" else f"\\{char}"), False
        elif char == "\\":
            escaped = True
        elif char == quote:
            quote = ""
        elif quote:
            part += char
        elif char in "'\"" and not part:
            quote = char
        elif char == ".":
            parts.append(part)
            part = ""
        else:
            part += char
    return (*parts, part)


def below(value: Json, parts: tuple[str, ...]) -> Json:
    """The value at a path; raises KeyError naming the part that is not there."""
    for part in parts:
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise KeyError(part)
    return value
