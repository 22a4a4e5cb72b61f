"""Who we are to Keystone: a user signed in, by the identity API v3, and a token kept as long as it is good."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from agent import jsontext
from agent.errors import MetadataError, Refused, Unavailable
from agent.model import Credentials, Json
from agent.transport import Client, show

EARLY_S = 120.0  # a token is renewed this long before it ends


@dataclass(frozen=True, slots=True)
class Token:
    """A signed-in user: the token, when it ends (seconds since the epoch), and the catalogue it came with."""

    id: str = field(repr=False)
    expires_at: float
    catalogue: tuple[Mapping[str, Json], ...] = field(repr=False, default=())

    def endpoint(self, service: str, region: str) -> str:
        """The public URL of a service type, in `region` where one is named; raises Unavailable when there is none."""
        urls: dict[str, str] = {}
        for entry in self.catalogue:
            endpoints = entry.get("endpoints")
            for endpoint in endpoints if entry.get("type") == service and isinstance(endpoints, list) else []:
                if isinstance(endpoint, dict) and endpoint.get("interface") == "public":
                    where = str(endpoint.get("region_id") or endpoint.get("region") or "")
                    urls.setdefault(where, str(endpoint.get("url", "")).rstrip("/"))
        if not region and urls:
            return next(iter(urls.values()))
        if region in urls:
            return urls[region]
        known = ", ".join(sorted(filter(None, urls))) or "none"
        raise Unavailable(
            f"looking for the {service} service in region {region or '(any)'}: the catalogue has it in: {known}; "
            "see region_name"
        )


class Tokens:
    """Tokens in use, one for each user and project, kept until shortly before they expire."""

    def __init__(self, client: Client, clock: Callable[[], float] = time.time) -> None:
        self._client = client
        self._clock = clock
        self._tokens: dict[tuple[str, str, str], Token] = {}

    def get(self, who: Credentials) -> Token:
        """A token that is still good, signing in only when there is none; raises Unavailable or Refused."""
        known = self._tokens.get(_user(who))
        if known and self._clock() < known.expires_at - EARLY_S:
            return known
        token = self._sign_in(who)
        self._tokens[_user(who)] = token
        return token

    def lent_to(self, client: Client) -> Tokens:
        """The same tokens for another client, in another process."""
        lent = Tokens(client, self._clock)
        lent._tokens = dict(self._tokens)
        return lent

    def forget(self, who: Credentials) -> None:
        """The server did not take the token: the next `get` signs in."""
        self._tokens.pop(_user(who), None)

    def _sign_in(self, who: Credentials) -> Token:
        url = keystone_v3(who.auth_url) + "/auth/tokens"
        user = {"id": who.user_id, "password": who.password}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"id": who.project_id}}}}
        try:
            response = self._client.request(
                "POST", url, headers={"Content-Type": "application/json"}, body=json.dumps(body).encode()
            )
        except Refused as exc:
            raise Refused(
                f"signing in as user {who.user_id} at {show(url)}: refused with {exc.status}; the user or its stack "
                "is gone, or the password in the metadata is old",
                status=exc.status,
            ) from exc
        return _token(response.headers, response.body, url, self._clock)


def _user(who: Credentials) -> tuple[str, str, str]:
    return keystone_v3(who.auth_url), who.user_id, who.project_id


def keystone_v3(auth_url: str) -> str:
    """The v3 root of an identity URL that may name another version or none."""
    base = auth_url.rstrip("/")
    for version in ("/v2.0", "/v3"):
        base = base.removesuffix(version)
    return base + "/v3"


def _token(headers: Mapping[str, str], body: bytes, url: str, clock: Callable[[], float]) -> Token:
    what = f"the answer of {show(url)}"
    try:
        described = jsontext.decode_map(body, what)["token"]
        identifier = headers["x-subject-token"]
    except (KeyError, MetadataError) as exc:
        raise Unavailable(f"signing in: {what} is no Keystone v3 token; is {show(url)} the identity service?") from exc
    if not isinstance(described, dict):
        raise Unavailable(f"signing in: {what} is no Keystone v3 token")
    catalogue = described.get("catalog")
    entries = tuple(e for e in catalogue if isinstance(e, dict)) if isinstance(catalogue, list) else ()
    if not entries:
        raise Unavailable(f"signing in: {what} has no catalogue; the user needs a role in its project")
    return Token(identifier, _expiry(described.get("expires_at"), clock), entries)


def _expiry(text: Json, clock: Callable[[], float]) -> float:
    try:
        return datetime.fromisoformat(str(text).replace("Z", "+00:00")).timestamp()
    except ValueError:
        return clock() + 600.0  # says nothing usable: ask again soon


def client_id() -> str:
    """What Zaqar wants of each client: any UUID, which keeps it from being given its own messages."""
    import uuid  # noqa: PLC0415 - 2 ms that only queues need

    return str(uuid.uuid4())
