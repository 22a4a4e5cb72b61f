"""A part of a file that is ours, between two lines that say so: how something is appended once, and taken out again.

# begin of NAME, kept by os-deploy-agent
...
# end of NAME, kept by os-deploy-agent
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection

KEPT = b"kept by os-deploy-agent"
"""What no content of a block may hold: it would end the block before its end."""

_PRINT = "block:"


def put(old: bytes, name: str, body: bytes, comment: str = "#") -> bytes:
    """`old` with the block of that name at its end, or in the place where it is already."""
    block = b"".join((_line("begin", name, comment), _whole(body), _line("end", name, comment)))
    found = _find(old, name)
    if found is None:
        return _whole(old) + block
    return old[: found.start()] + block + old[found.end() :]


def without(data: bytes, prints: Collection[str]) -> bytes | None:
    """`data` without the block that one of the prints is of; None when somebody has changed the block.

    Unchanged where there is no such block.
    """
    for known in prints:
        digest, _, name = known.removeprefix(_PRINT).partition(":")
        found = _find(data, name)
        if found is None:
            return data
        if hashlib.sha256(found[0]).hexdigest() == digest:
            return data[: found.start()] + data[found.end() :]
    return None


def print_of(data: bytes, name: str) -> str:
    """What tells the block of that name in `data` from one that somebody has changed."""
    found = _find(data, name)
    return f"{_PRINT}{hashlib.sha256(found[0] if found else b'').hexdigest()}:{name}"


def is_print(text: str) -> bool:
    """Whether a print is one of a block."""
    return text.startswith(_PRINT)


def _find(data: bytes, name: str) -> re.Match[bytes] | None:
    tail = re.escape(f" of {name}, kept by os-deploy-agent".encode())
    return re.search(rb"^[^\n]*begin" + tail + rb"\n.*?^[^\n]*end" + tail + rb"\n", data, re.DOTALL | re.MULTILINE)


def _line(edge: str, name: str, comment: str) -> bytes:
    return f"{comment} {edge} of {name}, kept by os-deploy-agent\n".encode()


def _whole(text: bytes) -> bytes:
    return text if not text or text.endswith(b"\n") else text + b"\n"
