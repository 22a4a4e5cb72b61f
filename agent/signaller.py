"""An outcome becomes bytes on the wire: one function per transport, one try per call.

Repeating is not decided here. Heat's signal names no deployment, so whoever repeats looks at the newest document first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from urllib.parse import quote

from agent import jsontext, log, model, parse
from agent.answers import Response
from agent.aws import sign_v2, sign_v4
from agent.errors import Refused, Unavailable
from agent.identity import Tokens, client_id
from agent.model import Credentials, Endpoint, Json, JsonMap
from agent.settings import Settings
from agent.transport import Client, show

BODY_LIMIT = 1_000_000
"""Below Heat's max_json_body_size of 1 MiB (heat/common/wsgi.py), counted after JSON escaping."""

MESSAGE_TTL_S = 600
"""How long a queue keeps a signal; Heat reads it within a second."""

EXPIRED = (
    "a CFN_SIGNAL URL ends 15 minutes after Heat made it unless Keystone's [credential] auth_ttl is longer, or the "
    "clock of this guest is wrong"
)

SECTIONS = {"CFN_SIGNAL": "cfn", "HEAT_SIGNAL": "heat", "TEMP_URL_SIGNAL": "request", "ZAQAR_SIGNAL": "zaqar"}
"""The source that talks to the same service: its certificates are used."""

STREAMS = ("deploy_stdout", "deploy_stderr")
_HEADERS = {"Content-Type": "application/json"}  # without it Heat's CFN API takes the body for a form: 403


def encode(body: Mapping[str, Json], limit: int = BODY_LIMIT) -> bytes:
    """The signal's body: always a JSON object with deploy_status_code, never above `limit` bytes.

    Streams are shortened first, to head and tail around a note; then, since nothing else is left, the longest outputs.
    """
    status = body.get("deploy_status_code")
    fitted: JsonMap = {**body, "deploy_status_code": 0 if status is None else status}
    for names in (STREAMS, tuple(name for name in fitted if name not in (*STREAMS, "deploy_status_code"))):
        excess = len(_dump(fitted)) - limit
        if excess <= 0:
            break
        fitted = _shorten(fitted, names, excess)
    data = _dump(fitted)
    return data if len(data) <= limit else _dump(_without_outputs(fitted))


@dataclass(frozen=True, slots=True)
class Own:
    """What the server itself may signal with, whatever the deployment brought: its user, or its EC2 keys."""

    user: Credentials | None = None
    access_key: str = ""
    secret_key: str = field(default="", repr=False)


def own(settings: Settings) -> Own:
    """The server's own credentials, from the settings of the collectors that poll with them."""
    s = settings
    user = None
    if s.heat_auth_url:
        user = Credentials(s.heat_auth_url, s.heat_user_id, s.heat_password, s.heat_project_id, s.heat_region_name)
    elif s.zaqar_auth_url:
        user = Credentials(s.zaqar_auth_url, s.zaqar_user_id, s.zaqar_password, s.zaqar_project_id, s.zaqar_region_name)
    return Own(user, s.cfn_access_key_id, s.cfn_secret_access_key)


def send(
    endpoint: Endpoint, body: Mapping[str, Json], client: Client, tokens: Tokens, server: Own | None = None
) -> None:
    """Send an outcome once; returns when the endpoint took it. Raises as `post`."""
    post(endpoint, encode(body), client, tokens, server)


def post(endpoint: Endpoint, data: bytes, client: Client, tokens: Tokens, server: Own | None = None) -> None:
    """Send bytes that are a signal already.

    A CFN_SIGNAL URL that is not taken any more is followed by another door with what `server` has. Raises Unavailable
    when it may be tried again, Refused when the endpoint said no.
    """
    try:
        SIGNALS.get(endpoint.transport, _unknown)(endpoint, data, client, tokens)
    except Refused as exc:
        if exc.status != 403 or endpoint.transport != "CFN_SIGNAL":
            raise
        _another_door(endpoint, data, client, tokens, server or Own(), exc)


def _send_url(endpoint: Endpoint, body: bytes, client: Client, _tokens: Tokens) -> None:
    """CFN_SIGNAL (a pre-signed POST) and TEMP_URL_SIGNAL (a Swift PUT): the URL is the credential."""
    if not endpoint.url:
        raise _incomplete(endpoint, "deploy_signal_id")
    client.request(endpoint.verb, endpoint.url, headers=_HEADERS, body=body)


def _another_door(
    endpoint: Endpoint, body: bytes, client: Client, tokens: Tokens, server: Own, refusal: Refused
) -> None:
    """The pre-signed URL was refused, which changed nothing in Heat: signal as the server itself.

    Its user may post to any deployment of its stack, its keys may sign the same URL anew; another stack's deployment
    is not found by either, and then no door is left.
    """
    try:
        if server.user:
            _post_native(endpoint, body, client, tokens, server.user)
        elif server.access_key:
            _post_signed(endpoint, body, client, server)
        else:
            raise Refused(f"{refusal}; {EXPIRED}, and the server has no credentials of its own to try", status=403)
    except Refused as exc:
        if exc.status not in (400, 404):
            raise
        why = "the deployment is of another stack, so the server's own credentials do not help"
        raise Refused(f"{refusal}; {EXPIRED}; {why} ({exc})", status=403) from exc
    log.info("signalled through another door", url=show(endpoint.url), by="user" if server.user else "keys")


def _post_signed(endpoint: Endpoint, body: bytes, client: Client, server: Own) -> None:
    """The same URL signed with the server's EC2 keys: version 2 without a timestamp, which never ends, else 4."""
    url = endpoint.url.partition("?")[0]
    keys = server.access_key, server.secret_key
    try:
        client.request(endpoint.verb, sign_v2(endpoint.verb, url, {}, *keys), headers=_HEADERS, body=body)
    except Refused as exc:
        if exc.status != 403:
            raise
        signed = sign_v4(endpoint.verb, url, body, *keys, now=datetime.now(timezone.utc))
        client.request(endpoint.verb, url, headers={**_HEADERS, **signed}, body=body)


def _send_heat(endpoint: Endpoint, body: bytes, client: Client, tokens: Tokens) -> None:
    """HEAT_SIGNAL: the deployment's own Keystone user posts to the native API."""
    if endpoint.credentials is None:
        raise _incomplete(endpoint, "deploy_auth_url")
    _post_native(endpoint, body, client, tokens, endpoint.credentials)


def _post_native(endpoint: Endpoint, body: bytes, client: Client, tokens: Tokens, who: Credentials) -> None:
    if not endpoint.stack_id or not endpoint.resource_name:
        raise _incomplete(endpoint, "deploy_stack_id or deploy_resource_name")

    def post() -> Response:
        token = tokens.get(who)
        base = token.endpoint("orchestration", who.region_name)
        stack, resource = quote(endpoint.stack_id, safe="/%"), quote(endpoint.resource_name, safe="")
        url = f"{base}/stacks/{stack}/resources/{resource}/signal"
        return client.request("POST", url, headers={**_HEADERS, "X-Auth-Token": token.id}, body=body)

    _with_token(post, who, tokens)


def _send_zaqar(endpoint: Endpoint, body: bytes, client: Client, tokens: Tokens) -> None:
    """ZAQAR_SIGNAL: a message of the v2 API in the deployment's own queue, which Heat reads."""
    who = endpoint.credentials
    if who is None or not endpoint.queue_id:
        raise _incomplete(endpoint, "deploy_auth_url or deploy_queue_id")
    message = b'{"messages": [{"ttl": %d, "body": %s}]}' % (MESSAGE_TTL_S, body)

    def post() -> Response:
        token = tokens.get(who)
        base = token.endpoint("messaging", who.region_name).removesuffix("/v2")
        url = f"{base}/v2/queues/{quote(endpoint.queue_id, safe='')}/messages"
        own = {"X-Auth-Token": token.id, "X-Project-Id": who.project_id, "Client-ID": client_id()}
        return client.request("POST", url, headers={**_HEADERS, **own}, body=message)

    _with_token(post, who, tokens)


def _with_token(post: Callable[[], Response], who: Credentials, tokens: Tokens) -> None:
    """Post; a token that ended while the hook ran is renewed once (nothing was taken, so this is no repeat)."""
    try:
        post()
    except Refused as exc:
        if exc.status != 401:
            raise
        tokens.forget(who)
        post()


def _unknown(endpoint: Endpoint, _body: bytes, _client: Client, _tokens: Tokens) -> None:
    raise Unavailable(
        f"signalling: this version has no transport {endpoint.transport[:40]!r}; known: {', '.join(SIGNALS)}",
        sent=False,
    )


def _incomplete(endpoint: Endpoint, missing: str) -> Refused:
    return Refused(f"signalling by {endpoint.transport}: the deployment's inputs lack {missing}", status=0, final=True)


SIGNALS: dict[str, Callable[[Endpoint, bytes, Client, Tokens], None]] = {
    "CFN_SIGNAL": _send_url,
    "TEMP_URL_SIGNAL": _send_url,
    "HEAT_SIGNAL": _send_heat,
    "ZAQAR_SIGNAL": _send_zaqar,
}


def _without_outputs(body: JsonMap) -> JsonMap:
    """Thousands of outputs that do not fit however short each is: none is sent, and that is a failure."""
    note = f"the {len(body) - 3} outputs are too many for Heat's limit of 1 MiB and were not sent"
    status = parse.status_from(body["deploy_status_code"]) or model.STATUS_DATA
    return model.Outcome(status, "", f"os-deploy-agent: {note}; put them into one map, or a file\n").body()


def _dump(body: Mapping[str, Json]) -> bytes:
    return json.dumps(body).encode("ascii")


def _shorten(body: JsonMap, names: tuple[str, ...], excess: int) -> JsonMap:
    """Take `excess` escaped bytes out of the longest of the named values, and a little more for the notes."""
    sizes = {name: len(json.dumps(body[name])) for name in names if name in body}
    shortened = dict(body)
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        if excess <= 0:
            break
        keep = max(sizes[name] - excess - 400, 0)
        shortened[name] = cut(jsontext.as_text(body[name]), keep)
        excess -= sizes[name] - len(json.dumps(shortened[name]))
    return shortened


def cut(text: str, limit: int) -> str:
    """Head and tail of `text` around a note, at most about `limit` bytes when escaped as JSON."""
    half = max(limit // 2, 0)
    head, tail = _fit(text, half), _fit(text[::-1], half)[::-1]
    missing = len(text) - len(head) - len(tail)
    if missing <= 0:
        return text
    return f"{head}\n[... {missing} characters cut here to stay below Heat's limit, see the guest ...]\n{tail}"


def _fit(text: str, limit: int) -> str:
    """The longest beginning of `text` whose JSON form has at most `limit` bytes."""
    part = text[:limit]
    while part and (size := len(json.dumps(part)) - 2) > limit:
        part = part[: min(len(part) - 1, len(part) * limit // size)]
    return part
