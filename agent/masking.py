"""Secrets are masked here and nowhere else: in logs, in what an operator is shown, in what leaves the guest.

Two nets. A name that promises a secret masks its whole value. In every text that is left, what looks like a credential
is masked: values in the query of a URL and its user, headers, assignments, keys of a known form. What is masked stays
as it is: masking twice changes nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.model import Json

MASK = "***"
SHORTEST = 6  # a secret that is shorter is a word, and would be masked all over

# the end of a name, as in deploy_password, X-Auth-Token, secret_access_key, AWSAccessKeyId
_ENDS = (
    r"(?:passw(?:or)?d|passphrase|token|secret|signature|credentials?|temp_url_sig|cookie"
    r"|(?:api|access|secret|private|account|auth|temp_url)[_-]?key(?:[_-]?id)?)"
)
_ALSO = r"|^pass(?:code)?$|_pass$|^pwd$|_pwd$|^psk$|secret|token|passw|credential|deploy_signal_id|^authorization$"
_QUOTED = r"\\+\".*?\\+\"|\"(?:[^\"\\\r\n]|\\.)*\"|'[^'\r\n]*'"
_VALUE = rf"(?:{_QUOTED}|[^\s&\"',;]|[\"'][^\r\n]*)+"  # the last one: cut off before its end

# pattern, what stands for a match: the name stays, the value goes
_RULES = (
    (r"(-----BEGIN [A-Z ]*PRIVATE KEY-----)(?s:.*?)(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", rf"\1{MASK}"),
    (r"\b((?:Bearer|Basic|Digest|Negotiate)\s+)[A-Za-z0-9+/=._~-]{6,}", rf"\1{MASK}"),
    (r"((?:Set-)?Cookie|Authorization)(\s*:\s*)[^\r\n\"']+", rf"\1\2{MASK}"),
    (
        rf"(?m)^([ \t]*[\w.-]{{0,60}}{_ENDS}\s*:[ \t]+)[^\s\"'{{\[][^\r\n]*$",
        rf"\1{MASK}",
    ),  # YAML
    (rf"((?<![\w-])--?[\w-]{{0,40}}{_ENDS}\s+){_VALUE}", rf"\1{MASK}"),
    (rf"((?:{_ENDS}|\bpwd)\\*[\"']?\s*[=:]\s*){_VALUE}", rf"\1{MASK}"),
)
_KNOWN_FORMS = (
    r"gAAAAA[A-Za-z0-9_-]{20,}={0,2}"  # Fernet, as Keystone's tokens
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"  # EC2 access keys
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+"  # JSON web tokens
    r"|\$(?:1|2[aby]|5|6|y)\$[./A-Za-z0-9$=,-]{16,}"  # crypt(3)
)
# Without one of these no rule fits: words in any case, and marks as they are. Searching for each of them takes a
# twentieth of what one pattern takes that ignores case.
_WORDS = (
    *(b"passw", b"pwd", b"phrase", b"token", b"secret", b"key", b"credential", b"cookie", b"authori", b"signature"),
    *(b"_sig", b"bearer", b"basic", b"digest", b"negotiate"),
)
_MARKS = (b"://", b"gAAAAA", b"AKIA", b"ASIA", b"eyJ", b"$1", b"$2", b"$5", b"$6", b"$y")
_URL = r"(?<![\w+.-])[A-Za-z][\w+.-]{0,30}://[^\s\"'<>\\]+"
_PLAIN_QUERY = {
    *("SignatureMethod", "SignatureVersion", "Timestamp", "Expires", "temp_url_expires"),
    *("X-Amz-Algorithm", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders"),
}


def is_secret(name: str, type: str = "") -> bool:
    """Whether what goes by this name (of an input, a setting, a header, a key), or has this type, is not for eyes."""
    return bool(_names().search(name) or _names().search(type))


def text(text: str) -> str:
    """Text with everything in it masked that looks like a credential."""
    for pattern, replacement in _compiled():
        text = pattern.sub(replacement, text)
    return text


def value(content: Json, name: str = "", type: str = "") -> Json:
    """JSON of any depth with secrets masked, by the names of its members and by what its texts look like.

    An element of Heat's lists, `{"name": …, "value": …}`, counts as a member of that name. What is empty or null is
    left: that nothing was given is no secret, and often the fault that is looked for.
    """
    if content is None or content in ("", [], {}):
        return content
    if is_secret(name, type):
        return MASK
    if isinstance(content, str):
        return text(content)
    if isinstance(content, list):
        return [value(element, name) for element in content]
    if isinstance(content, dict):
        return _members(content)
    return content


def secrets(content: Json, name: str = "", type: str = "") -> Iterator[str]:
    """The texts in a document, or in settings, that `value` would mask for their names."""
    if isinstance(content, str) and is_secret(name, type):
        yield content
    elif isinstance(content, list):
        for element in content:
            yield from secrets(element, name)
    elif isinstance(content, dict):
        named, typed = (str(content.get(key) or "") for key in ("name", "type"))
        for key, member in content.items():
            own = named and key in ("value", "default")
            yield from secrets(member, *((named, typed) if own else (name if is_secret(name) else key,)))


def forms(secrets: Iterable[str]) -> tuple[str, ...]:
    """How secrets stand in text: plain, in JSON and in URLs; the longest first, for one may be a part of another."""
    from urllib.parse import quote  # noqa: PLC0415 - for who knows secrets

    known = {secret for secret in secrets if len(secret) >= SHORTEST and secret != MASK}
    found = {form for s in known for form in (s, json.dumps(s)[1:-1], quote(s), quote(s, safe=""))}
    return tuple(sorted(found, key=lambda form: (-len(form), form)))


class Veil:
    """Masks known secrets in a stream, also those that come in two pieces: what may be the beginning of one waits."""

    def __init__(self, secrets: Iterable[str]) -> None:
        self._texts = forms(secrets)
        self._forms = tuple(form.encode("utf-8", "replace") for form in self._texts)
        self._held = b""

    def __call__(self, chunk: bytes) -> bytes:
        data = self._held + chunk
        for form in self._forms:
            data = data.replace(form, MASK.encode())
        begun = max((_begun(data, form) for form in self._forms), default=0)
        self._held = data[len(data) - begun :]
        return data[: len(data) - begun]

    def rest(self) -> bytes:
        """What waits for its end when there is no more."""
        held, self._held = self._held, b""
        return held

    def text(self, text: str) -> str:
        """A whole text."""
        for form in self._texts:
            text = text.replace(form, MASK)
        return text


def looks(chunk: bytes) -> bytes:
    """Bytes of a stream with what looks like a credential masked; one look is all it costs where nothing does."""
    lowered = chunk.lower()
    if not (any(word in lowered for word in _WORDS) or any(mark in chunk for mark in _MARKS)):
        return chunk
    return text(chunk.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")


def _begun(data: bytes, form: bytes) -> int:
    """How many bytes at the end of `data` are the beginning of `form`, which is not in it."""
    at = data.find(form[:1], max(len(data) - len(form) + 1, 0))
    while at >= 0 and not form.startswith(data[at:]):
        at = data.find(form[:1], at + 1)
    return len(data) - at if at >= 0 else 0


def _members(content: Mapping[str, Json]) -> dict[str, Json]:
    named, typed = (found if isinstance(found := content.get(key), str) else "" for key in ("name", "type"))
    return {
        text(key): value(member, named, typed) if named and key in ("value", "default") else value(member, key)
        for key, member in content.items()
    }


@cache
def _names() -> re.Pattern[str]:
    """Compiled when first needed, as all below: commands that mask nothing should not pay for it."""
    return re.compile(_ENDS + "$" + _ALSO, re.IGNORECASE)


@cache
def _compiled() -> tuple[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]], ...]:
    rules = tuple((re.compile(pattern, re.IGNORECASE), replacement) for pattern, replacement in _RULES)
    return ((re.compile(_URL), _url), *rules, (re.compile(_KNOWN_FORMS), MASK))


def _url(match: re.Match[str]) -> str:
    """A URL without its user, and without the values of its query but those that are known to be harmless."""
    address, question, query = match[0].partition("?")
    scheme, _, rest = address.partition("://")
    authority, slash, path = rest.partition("/")
    if "@" in authority:
        authority = f"{MASK}@{authority.rpartition('@')[2]}"
    return f"{scheme}://{authority}{slash}{path}{question}{'&'.join(map(_pair, query.split('&')))}"


def _pair(pair: str) -> str:
    name, equals, _ = pair.partition("=")
    return pair if not equals or name in _PLAIN_QUERY else f"{name}={MASK}"
