"""What cloud-init left of Heat's multipart user data: one document out of one or more files, later keys win."""

from __future__ import annotations

from agent import documents, jsontext, log, parse
from agent.errors import MetadataError, Unavailable
from agent.identity import Tokens
from agent.model import Document, JsonMap
from agent.settings import Settings
from agent.transport import Client


def configured(settings: Settings) -> bool:
    return any(settings.path(name).is_file() for name in settings.heat_local_path)


def collect(
    settings: Settings, _client: Client, _tokens: Tokens, _previous: tuple[Document, ...]
) -> tuple[Document, ...]:
    content: JsonMap = {}
    faults: list[str] = []
    for name in settings.heat_local_path:
        path = settings.path(name)
        try:
            content.update(jsontext.decode_map(documents.read(path, settings.max_document), str(path)))
        except Unavailable as exc:
            faults.append(str(exc))
        except MetadataError as exc:
            log.warning("file skipped", source="heat_local", reason=str(exc))
            faults.append(str(exc))
    if len(faults) == len(settings.heat_local_path):
        raise Unavailable("; ".join(faults))
    return (parse.document("heat_local", content),)
