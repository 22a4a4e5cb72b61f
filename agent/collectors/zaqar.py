"""A queue of Zaqar's v2 API with the server's own Keystone user (ZAQAR_MESSAGE): each change is one message.

Heat posts a message per change, a whole document each, which the queue keeps for an hour. Messages are listed here and
deleted by `acknowledge`, which the engine calls when the newest of them is on disk: one that was taken and not stored
is lost for good. An empty queue says that nothing changed, not that there is nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from urllib.parse import quote

from agent import jsontext, log, parse, urls
from agent.answers import Response
from agent.errors import MetadataError, Refused, Unavailable
from agent.identity import Tokens, client_id
from agent.model import Credentials, Document, Json, JsonMap
from agent.settings import Settings
from agent.transport import Client

_NEEDED = ("zaqar_auth_url", "zaqar_user_id", "zaqar_password", "zaqar_project_id", "zaqar_queue_id")
_TAKEN = "messages"  # where a document remembers the messages that it makes superfluous
_AT_ONCE = 20  # most messages of one request (zaqar: max_messages_per_page, max_messages_per_claim_or_pop)
_PAGES = 50


@dataclass(frozen=True, slots=True)
class Message:
    id: str
    body: Json


def configured(settings: Settings) -> bool:
    return bool(settings.zaqar_auth_url)


def collect(settings: Settings, client: Client, tokens: Tokens, previous: tuple[Document, ...]) -> tuple[Document, ...]:
    """The newest message; the last document when there is none."""
    who = _user(settings)
    messages, left = _messages(settings, client, tokens, who)
    usable = [message for message in messages if isinstance(message.body, dict) and message.body]
    for message in messages:
        if message not in usable:
            log.error("message is no JSON object with anything in it, dropped", source="zaqar", message=message.id)
    ids = ",".join(message.id for message in messages if left)
    if usable:
        body = usable[-1].body
        assert isinstance(body, dict)
        return (parse.document("zaqar", body, validator={_TAKEN: ids}),)
    if previous:
        return tuple(replace(document, validator={_TAKEN: ids}) for document in previous)
    _delete(settings, client, tokens, ids)  # no document could carry them, and nobody could use them
    raise Unavailable(
        f"polling the queue {settings.zaqar_queue_id}: no message, and none was kept; Heat posts one at the next change"
    )


def acknowledge(settings: Settings, client: Client, tokens: Tokens, documents: tuple[Document, ...]) -> None:
    """Delete the messages that led to these documents, which are on disk by now."""
    for document in documents:
        _delete(settings, client, tokens, document.validator.get(_TAKEN, ""))


def _user(settings: Settings) -> Credentials:
    missing = [name.replace("_", ".", 1) for name in _NEEDED if not getattr(settings, name)]
    if missing:
        raise Unavailable(f"polling Zaqar: {', '.join(missing)} not set; see the os-collect-config section")
    return Credentials(
        settings.zaqar_auth_url,
        settings.zaqar_user_id,
        settings.zaqar_password,
        settings.zaqar_project_id,
        settings.zaqar_region_name,
    )


def _messages(settings: Settings, client: Client, tokens: Tokens, who: Credentials) -> tuple[tuple[Message, ...], bool]:
    """All messages, oldest first, and whether they are still in the queue."""
    query = f"echo=true&limit={_AT_ONCE}"
    found: list[Message] = []
    for _ in range(_PAGES):
        try:
            response = _ask(settings, client, tokens, who, "GET", query)
        except Refused as exc:
            if exc.status not in (403, 404, 405):
                raise
            # a service whose policy has no listing: all that is left is to take the oldest
            return _parse(_ask(settings, client, tokens, who, "DELETE", "pop=1")), False
        page = _parse(response)
        found += page
        following = _next(response)
        if len(page) < _AT_ONCE or not following:
            break
        query = following
    return tuple(found), True


def _delete(settings: Settings, client: Client, tokens: Tokens, ids: str) -> None:
    """Oldest first, so that what a failure leaves is never older than what is gone."""
    names = [quote(name, safe="") for name in ids.split(",") if name]
    for start in range(0, len(names), _AT_ONCE):
        query = "ids=" + ",".join(names[start : start + _AT_ONCE])
        _ask(settings, client, tokens, _user(settings), "DELETE", query)


def _ask(settings: Settings, client: Client, tokens: Tokens, who: Credentials, method: str, query: str) -> Response:
    """One request to the queue; a token that is no longer taken is renewed once."""

    def ask() -> Response:
        token = tokens.get(who)
        base = token.endpoint("messaging", who.region_name).removesuffix("/v2")
        url = f"{base}/v2/queues/{quote(settings.zaqar_queue_id, safe='')}/messages?{query}"
        own = {"X-Auth-Token": token.id, "X-Project-Id": who.project_id, "Client-ID": client_id()}
        return client.request(method, url, headers={"Accept": "application/json", **own})

    return _with_token(ask, who, tokens)


def _with_token(ask: Callable[[], Response], who: Credentials, tokens: Tokens) -> Response:
    try:
        return ask()
    except Refused as exc:
        if exc.status != 401:
            raise
        tokens.forget(who)
        return ask()


def _parse(response: Response) -> tuple[Message, ...]:
    if not response.body:  # 204: what some versions say of an empty queue
        return ()
    listed = jsontext.decode_map(response.body, "the queue's messages").get("messages")
    if not isinstance(listed, list):
        raise MetadataError(
            "reading the queue's messages: no list below 'messages'; is the catalogue's endpoint right?"
        )
    return tuple(_message(element) for element in listed if isinstance(element, dict))


def _message(element: JsonMap) -> Message:
    """A message; some stores give no id but only the link that ends with it."""
    identity = element.get("id") or urls.split(str(element.get("href", ""))).path.rpartition("/")[2]
    return Message(jsontext.whole_text(str(identity)), element.get("body"))


def _next(response: Response) -> str:
    links = jsontext.decode_map(response.body, "the queue's messages").get("links")
    for link in links if isinstance(links, list) else []:
        if isinstance(link, dict) and link.get("rel") == "next":
            return urls.split(str(link.get("href", ""))).query
    return ""
