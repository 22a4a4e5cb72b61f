"""URLs as the outside sends them. Pure."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

_NONE = SplitResult("", "", "", "", "")


def split(url: str) -> SplitResult:
    """The parts of a URL; all of them empty for what is none, such as half an IPv6 address or a port beyond 65535."""
    try:
        parts = urlsplit(url)
        return parts if parts.port is None or parts.port >= 0 else _NONE
    except ValueError:
        return _NONE
