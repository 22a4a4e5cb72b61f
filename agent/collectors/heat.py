"""Heat's native API with the server's own Keystone user (POLL_SERVER_HEAT).

One request a poll: the token is kept (the old collector signed in each time, which cost Keystone 17 times as much).
"""

from __future__ import annotations

from urllib.parse import quote

from agent import jsontext, parse
from agent.answers import Response
from agent.errors import Gone, MetadataError, Refused, Unavailable
from agent.identity import Tokens
from agent.model import Credentials, Document
from agent.settings import Settings
from agent.transport import Client, show

_NEEDED = ("heat_auth_url", "heat_user_id", "heat_password", "heat_project_id", "heat_stack_id", "heat_resource_name")


def configured(settings: Settings) -> bool:
    return bool(settings.heat_auth_url)


def collect(
    settings: Settings, client: Client, tokens: Tokens, _previous: tuple[Document, ...]
) -> tuple[Document, ...]:
    missing = [name.replace("_", ".", 1) for name in _NEEDED if not getattr(settings, name)]
    if missing:
        raise Unavailable(f"polling Heat: {', '.join(missing)} not set; see the os-collect-config section")
    who = Credentials(
        settings.heat_auth_url,
        settings.heat_user_id,
        settings.heat_password,
        settings.heat_project_id,
        settings.heat_region_name,
    )
    try:
        response = _get(settings, client, tokens, who)
    except Refused as exc:
        if exc.status == 404 and "EntityNotFound" in str(exc):
            raise Gone(str(exc), status=404) from exc
        if exc.status != 401:
            raise
        tokens.forget(who)  # revoked, or the clock is wrong: sign in once more
        response = _get(settings, client, tokens, who)
    content = jsontext.decode_map(response.body, "Heat's metadata").get("metadata")
    if not isinstance(content, dict):
        raise MetadataError("reading Heat's metadata: no object below 'metadata'; is heat.auth_url's catalogue right?")
    return (parse.document("heat", content),)


def _get(settings: Settings, client: Client, tokens: Tokens, who: Credentials) -> Response:
    token = tokens.get(who)
    base = token.endpoint("orchestration", who.region_name)
    stack, resource = quote(settings.heat_stack_id, safe="/%"), quote(settings.heat_resource_name, safe="")
    url = f"{base}/stacks/{stack}/resources/{resource}/metadata"
    response = client.request("GET", url, headers={"X-Auth-Token": token.id})
    if response.status != 200:
        raise Unavailable(f"GET {show(url)}: answered {response.status}, 200 is wanted")
    return response
