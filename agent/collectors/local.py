"""JSON files in directories of this machine, a document each: for people without a cloud, and for debugging.

A directory or file that someone else may write would be root for everybody, so the whole source is refused then.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from agent import documents, jsontext, parse
from agent.errors import MetadataError
from agent.identity import Tokens
from agent.model import Document, Json
from agent.settings import Settings
from agent.transport import Client


def configured(settings: Settings) -> bool:
    return any(settings.path(name).is_dir() for name in settings.local_path)


def collect(
    settings: Settings, _client: Client, _tokens: Tokens, _previous: tuple[Document, ...]
) -> tuple[Document, ...]:
    """One document a file, by file name over all directories."""
    documents = []
    for path, value in read(settings):
        if not isinstance(value, dict):
            raise MetadataError(f"reading {path}: a JSON object is wanted")
        documents.append(parse.document("local", value, name=path.name))
    return tuple(documents)


def read(settings: Settings) -> tuple[tuple[Path, Json], ...]:
    """The files and what is in them, whatever kind of JSON it is; equal names in the order of their directories."""
    files: list[Path] = []
    for name in settings.local_path:
        directory = settings.path(name)
        if directory.is_dir():
            _refuse_foreign(directory)
            files += [path for path in directory.iterdir() if path.is_file() and not path.name.startswith(".")]
    found = []
    for path in sorted(files, key=lambda path: os.fsencode(path.name)):
        _refuse_foreign(path)
        found.append((path, jsontext.decode(documents.read(path, settings.max_document), str(path))))
    return tuple(found)


def _refuse_foreign(path: Path) -> None:
    """Raise MetadataError for what another user owns or everybody may write."""
    found = path.stat()
    if found.st_uid != os.getuid():
        raise MetadataError(f"reading {path}: it belongs to another user; chown it to the agent's")
    if found.st_mode & stat.S_IWOTH:
        raise MetadataError(f"reading {path}: it is world writable, everybody may write it; chmod o-w {path}")
