"""The metadata service at its link-local addresses: the tree below `latest/meta-data`, as one document.

Asked again at each poll of this source, which come seldom (`ec2.polling_interval`): a tree is one request per leaf.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from agent import parse, urls
from agent.errors import AgentError, MetadataError, Refused, Unavailable
from agent.identity import Tokens
from agent.model import Document, JsonMap
from agent.settings import Settings
from agent.transport import Client, show

Spend: TypeAlias = Callable[[str], None]

_DEPTH = 8
_REQUESTS = 500
_INTERFACES = 4  # how many are tried for an IPv6 address that is valid on each of them


def configured(settings: Settings) -> bool:
    return bool(settings.ec2_metadata_url)


def collect(
    settings: Settings, client: Client, _tokens: Tokens, previous: tuple[Document, ...]
) -> tuple[Document, ...]:
    """The tree at the first address that answers; the one that did last time goes first."""
    known = previous[0].validator.get("url", "") if previous else ""
    addresses = [url for given in settings.ec2_metadata_url for url in _zoned(given.rstrip("/"))]
    faults: list[AgentError] = []
    for url in sorted(addresses, key=lambda url: url != known):
        try:
            content = _directory(client, f"{url}/", _budget(client.limits.total_s))
        except (Unavailable, Refused) as exc:
            faults.append(exc)
            continue
        if not content:
            raise MetadataError(f"reading {show(url)}: the listing is empty; is it the metadata service?")
        return (parse.document("ec2", content, validator={"url": url}),)
    raise Unavailable("; ".join(map(str, faults)) or "polling the metadata service: no ec2.metadata_url set")


def _zoned(url: str) -> list[str]:
    """The URL, or one for each interface when its host is an IPv6 link-local address, valid on each (RFC 6874)."""
    host = urls.split(url).hostname or ""
    if not host.startswith("fe80:") or "%" in host:
        return [url]
    names = [name for _, name in socket.if_nameindex() if name != "lo" and _is_up(name)]
    return [url.replace("]", f"%25{quote(name, safe='')}]", 1) for name in names[:_INTERFACES]]


def _is_up(interface: str) -> bool:
    try:
        return Path(f"/sys/class/net/{interface}/operstate").read_text("ascii").strip() in ("up", "unknown")
    except OSError:  # without /sys each may be
        return True


def _budget(seconds: float) -> Spend:
    """To be called before each request: the whole tree has the time of one answer that is slow, and a size."""
    end, left = time.monotonic() + seconds, iter(range(_REQUESTS))

    def spend(url: str) -> None:
        if next(left, None) is None:
            raise MetadataError(f"reading {show(url)}: more than {_REQUESTS} entries; is it the metadata service?")
        if time.monotonic() > end:
            raise Unavailable(f"reading {show(url)}: the tree was not read within {seconds:.0f} s; see total_timeout")

    return spend


def _directory(client: Client, url: str, spend: Spend, depth: int = 0) -> JsonMap:
    """Names that end with "/" are directories; "0=my-key" is a directory named 0 (only keys are listed so)."""
    if depth > _DEPTH:
        raise MetadataError(f"reading {show(url)}: nested deeper than {_DEPTH} levels")
    content: JsonMap = {}
    for line in _get(client, url, spend).splitlines():
        name = line.strip()
        key, is_pair, _ = name.partition("=")
        if is_pair:
            name = f"{key}/"
        if name.endswith("/") and name != "/":
            content[name[:-1]] = _directory(client, f"{url}{quote(name[:-1], safe='')}/", spend, depth + 1)
        elif name:
            content[name] = _get(client, url + quote(name, safe=""), spend)
    return content


def _get(client: Client, url: str, spend: Spend) -> str:
    spend(url)
    response = client.request("GET", url, headers=_host(url))
    if response.status != 200:
        raise Unavailable(f"GET {show(url)}: answered {response.status}, 200 is wanted")
    return response.body.decode("utf-8", "replace")


def _host(url: str) -> dict[str, str]:
    """The name of our interface is nobody else's business, and some servers stumble over it (RFC 6874 1)."""
    address, zone, rest = urls.split(url).netloc.partition("%25")
    return {"Host": f"{address}]{rest.partition(']')[2]}"} if zone else {}
