"""Heat's CloudFormation API with an EC2 key pair (POLL_SERVER_CFN): DescribeStackResource, signature version 2."""

from __future__ import annotations

from agent import jsontext, merge, parse
from agent.aws import sign_v2
from agent.errors import MetadataError, Unavailable
from agent.identity import Tokens
from agent.model import Document, Json, JsonMap
from agent.settings import Settings
from agent.transport import Client

_RESULT = "DescribeStackResourceResult/StackResourceDetail/"


def configured(settings: Settings) -> bool:
    return bool(_base_url(settings) and settings.cfn_path)


def collect(
    settings: Settings, client: Client, _tokens: Tokens, _previous: tuple[Document, ...]
) -> tuple[Document, ...]:
    """One document out of all configured paths, later ones win."""
    url = _base_url(settings)
    missing = [
        key for key in ("access_key_id", "secret_access_key", "stack_name") if not getattr(settings, f"cfn_{key}")
    ]
    if missing:
        raise Unavailable(
            f"polling the CFN API: cfn.{', cfn.'.join(missing)} not set; see the os-collect-config section"
        )
    content: JsonMap = {}
    for path in settings.cfn_path:
        content.update(_fetch(settings, client, url, path))
    return (parse.document("cfn", content),)


def _base_url(settings: Settings) -> str:
    if settings.cfn_metadata_url:
        return settings.cfn_metadata_url
    try:
        hint = settings.path(settings.cfn_heat_metadata_hint).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):  # cloud-init left none: this guest is not polled by CFN
        return ""
    # Heat writes it with the version (get_cfn_metadata_server_url), os-collect-config reads it as if without
    return f"{hint.rstrip('/').removesuffix('/v1')}/v1/" if hint else ""


def _fetch(settings: Settings, client: Client, url: str, path: str) -> JsonMap:
    resource, _, rest = path.partition(".")
    field, _, below = rest.partition(".")
    if not resource or not field:
        raise MetadataError(f"polling the CFN API: cfn.path {path!r} is not <resource>.<field>[.key…]")
    asked = {"Action": "DescribeStackResource", "StackName": settings.cfn_stack_name, "LogicalResourceId": resource}
    signed = sign_v2("GET", url, asked, settings.cfn_access_key_id, settings.cfn_secret_access_key)
    headers = {"Content-Type": "application/json"}
    response = client.request("GET", signed, headers=headers)
    value: Json = jsontext.decode(_field(response.body, field).encode(), f"{path} from the CFN API")
    try:
        value = merge.lookup(value, below) if below else value
    except KeyError as exc:
        raise MetadataError(f"polling the CFN API: {path} has no {exc}") from exc
    if not isinstance(value, dict):
        raise MetadataError(f"polling the CFN API: {path} is no JSON object")
    return value


def _field(body: bytes, field: str) -> str:
    """The text of one field of the answer."""
    from xml.etree import ElementTree  # noqa: PLC0415 - 8 ms that only this source pays

    if b"<!DOCTYPE" in body or b"<!ENTITY" in body:
        raise MetadataError("polling the CFN API: the answer declares entities, which Heat never does; refused")
    try:
        found = ElementTree.fromstring(body).findtext(_RESULT + field)  # noqa: S314 - no entity gets this far
    except (ElementTree.ParseError, ValueError, LookupError) as exc:
        raise MetadataError(f"polling the CFN API: the answer is no XML ({exc}); is cfn.metadata_url right?") from exc
    if found is None:
        raise MetadataError(f"polling the CFN API: the answer has no {field}; is cfn.metadata_url right?")
    return found
