"""A support bundle: what an operator sees, as files for somebody else. Redacted, and of bounded size.

What people wrote is not in it: no config, no value of an input of their own, only the ends of what hooks printed. The
rest goes through one door, `Scrub`: it masks what looks like a secret, and every secret that this guest knows wherever
it stands.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator

from agent import masking
from agent.model import Json, JsonMap
from agent.settings import FIELDS, Settings
from agent.view import show
from agent.view.guest import Guest, Known

FILE_LIMIT = 64 << 10
STREAM = 4000
LIMIT = 4 << 20  # of all files before they are compressed


class Scrub:
    """Takes secrets out of text: the known ones, plain, in JSON and in URLs, and what looks like one."""

    def __init__(self, known: Iterable[str]) -> None:
        self._known = masking.Veil(known)

    def __call__(self, text: str) -> str:
        return masking.text(self._known.text(text))


def settings_secrets(settings: Settings) -> Iterator[str]:
    for known in FIELDS.values():
        if known.metadata["secret"]:
            yield str(getattr(settings, known.name))


def settings_shown(settings: Settings) -> JsonMap:
    """Every setting that is not at its default."""
    found: JsonMap = {}
    for key, known in FIELDS.items():
        value = getattr(settings, known.name)
        if value != known.default:
            found[key] = masking.MASK if known.metadata["secret"] else str(value)
    return found


def deployment(known: Known, guest: Guest, now: float) -> JsonMap:
    """What `agent show --json` says, without what people wrote."""
    facts = show.facts(known, guest, now)
    config, inputs, outcome = facts["config"], facts["inputs"], facts["outcome"]
    facts["config"] = f"{len(json.dumps(config))} characters"
    facts["inputs"] = [_input(element) for element in inputs] if isinstance(inputs, list) else []
    if isinstance(outcome, dict):
        own = {name: masking.MASK for name in outcome if not name.startswith("deploy_")}
        streams = {name: end(str(outcome.get(name) or ""), STREAM) for name in ("deploy_stdout", "deploy_stderr")}
        facts["outcome"] = {**own, **streams, "deploy_status_code": outcome.get("deploy_status_code")}
    return facts


def end(text: str, limit: int) -> str:
    """The last whole lines of a text: half a secret at its beginning would not be known for one."""
    return text if len(text) <= limit else text[-limit:].partition("\n")[2]


def _input(element: Json) -> Json:
    if isinstance(element, dict) and not str(element.get("name")).startswith("deploy_"):
        return {**element, "value": masking.MASK}
    return element


def pack(files: Iterable[tuple[str, str]], scrub: Scrub, now: float, limit: int = LIMIT) -> bytes:
    """A gzipped tar of files in their order, texts by their ends when they are long, until the bundle is full.

    Its last file, `omitted`, names what had no room.
    """
    buffer, left, omitted = io.BytesIO(), limit, []
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=6) as archive:
        for name, text in files:
            data = scrub(text).encode("utf-8", "replace")
            if name.endswith(".txt"):
                data = data[-FILE_LIMIT:]
            if len(data) > left:
                omitted.append(name)
                continue
            left -= len(data)
            _add(archive, name, data, now)
        _add(archive, "omitted", "\n".join(omitted).encode()[:FILE_LIMIT], now)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, name: str, data: bytes, now: float) -> None:
    entry = tarfile.TarInfo(f"os-deploy-agent-report/{name}")
    entry.size, entry.mode, entry.mtime = len(data), 0o600, int(now)
    archive.addfile(entry, io.BytesIO(data))
