"""What cloud-init left of Heat's multipart user data: one document out of one or more files, later keys win.

Heat's part handler writes each file twice (heat/cloudinit/part_handler.py): below /var/lib/heat-cfntools for root
alone, and below /var/lib/cloud/data where every user reads the server's password. Ignition writes the same two.
"""

from __future__ import annotations

import stat
from pathlib import Path

from agent import documents, instance, jsontext, log, parse
from agent.errors import MetadataError, Unavailable
from agent.identity import Tokens
from agent.model import Document, JsonMap
from agent.settings import Settings
from agent.transport import Client


def configured(settings: Settings) -> bool:
    return any(path.is_file() for path in _paths(settings))


def collect(
    settings: Settings, _client: Client, _tokens: Tokens, previous: tuple[Document, ...]
) -> tuple[Document, ...]:
    content: JsonMap = {}
    faults: list[str] = []
    paths = _paths(settings)
    for path in paths:
        try:
            content.update(jsontext.decode_map(documents.read(path, settings.max_document), str(path)))
        except Unavailable as exc:
            faults.append(str(exc))
        except MetadataError as exc:
            log.warning("file skipped", source="heat_local", reason=str(exc))
            faults.append(str(exc))
    if len(faults) == len(paths):
        raise Unavailable("; ".join(faults) or "looking for what cloud-init left: there is another machine's alone")
    found = (parse.document("heat_local", content),)
    for path in paths:
        _look_who_may_read(path, settings, is_news=[d.digest for d in found] != [d.digest for d in previous])
    return found


def _paths(settings: Settings) -> list[Path]:
    """Where the files may be, but for those that another machine left on this disk."""
    former = instance.passed_over(settings)
    return [path for path in map(settings.path, settings.heat_local_path) if path not in former]


def _look_who_may_read(path: Path, settings: Settings, *, is_news: bool) -> None:
    """Take the world's right to read credentials, or say once that it has it."""
    try:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0
        if not (mode & stat.S_IROTH and path.parent.stat().st_mode & stat.S_IXOTH):
            return
        if settings.heat_local_tighten:
            path.chmod(mode & ~stat.S_IRWXO)
            log.info("no longer readable by everybody", file=str(path))
        elif is_news:
            log.warning("credentials readable by everybody", file=str(path), advice="set heat_local.tighten")
    except OSError as exc:
        if is_news:
            log.warning("readable by everybody, and stays so", file=str(path), reason=str(exc))
