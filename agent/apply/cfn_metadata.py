"""The metadata of a resource as it is on the guest: what was seen last, or what came at boot; see cfn_api for the API.

The files are those of heat-cfntools. What is half-written or damaged is passed over, and nothing is left half-written.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from agent import jsontext, state
from agent.apply.cfn_programs import Tell
from agent.errors import MetadataError, StateError

if TYPE_CHECKING:  # the model is 10 ms of classes
    from agent.model import JsonMap

DATA = Path("/var/lib/heat-cfntools")
CACHE = Path("/var/cache/heat-cfntools")
LEAKY_COPY = Path("/var/lib/cloud/data/cfn-init-data")


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
