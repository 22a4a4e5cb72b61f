"""Documents on disk: those that somebody left for us, and the last good one of each source.

Of the last good ones the disk keeps no secret of a deployment for longer than it is needed (keeping.py). What they are
compared by is the digest of what the source said, which stands beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from agent import jsontext, keeping, log, state
from agent.errors import MetadataError, Unavailable
from agent.keeping import Need, NeedOf
from agent.model import Document, JsonMap
from agent.seal import Seal
from agent.state import Places


def read(path: Path, limit: int) -> bytes:
    """A file that holds a document, of at most `limit` bytes. Raises Unavailable, or MetadataError above the limit."""
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except OSError as exc:
        raise Unavailable(f"reading {path}: {exc.strerror}") from exc
    if len(data) > limit:
        raise MetadataError(f"reading {path}: more than {limit} bytes; see max_document")
    return data


class Shelf(Protocol):
    """Where the last good documents are. What a `lasting` one keeps outlives us, so that a queue may forget it."""

    lasting: bool

    def kept(self) -> tuple[Document, ...]: ...

    def keep(self, document: Document) -> None: ...

    def forget(self, name: str) -> None: ...


class Disk:
    """The agent's own. `need_of` says what of a deployment's secrets is still needed, `seal` hides that meanwhile."""

    lasting = True

    def __init__(self, places: Places, need_of: NeedOf = lambda _key: Need.HOOK, seal: Seal | None = None) -> None:
        self._places = places
        self._need_of = need_of
        self._seal = seal
        self._held: dict[str, tuple[str, Mapping[str, Need]]] = {}

    def kept(self) -> tuple[Document, ...]:
        stored = kept(self._places)
        for document in stored:
            if not (self._seal and keeping.unsealed(document.content)):  # else it is to be written once more
                self._held[document.name] = (document.digest, keeping.held(document.content))
        return tuple(self._opened(document) for document in stored)

    def keep(self, document: Document) -> None:
        """Store it, unless it is there and holds nothing that is needed no more."""
        digest, held = self._held.get(document.name, ("", {}))
        if digest == document.digest and all(needed <= self._need_of(key) for key, needed in held.items()):
            return
        content = keeping.form(document.content, self._need_of, self._seal.close if self._seal else None)
        keep(self._places, replace(document, content=content))
        self._held[document.name] = (document.digest, keeping.held(content))

    def forget(self, name: str) -> None:
        forget(self._places, name)
        self._held.pop(name, None)

    def _opened(self, document: Document) -> Document:
        content = keeping.opened(document.content, self._seal.open) if self._seal else document.content
        if left := keeping.sealed(content):
            log.error(
                "sealed values cannot be opened, their source is asked for them again",
                document=document.name,
                inputs=left,
                reason="they were sealed with another key" if self._seal else "there is no key; see seal_key",
            )
        return replace(document, content=content)


class Glass:
    """One that shows what there is and takes nothing: for who looks ahead."""

    lasting = False

    def __init__(self, shown: tuple[Document, ...]) -> None:
        self._shown = shown

    def kept(self) -> tuple[Document, ...]:
        return self._shown

    def keep(self, document: Document) -> None:
        """Nothing is kept."""

    def forget(self, name: str) -> None:
        """Nothing was kept."""


def keep(places: Places, document: Document) -> None:
    """Store the last good document of a source, for the time when the source is down or we were restarted."""
    content: JsonMap = {
        "source": document.source,
        "name": document.name,
        "digest": document.digest,
        "fetched_at": document.fetched_at,
        "validator": dict(document.validator),
        "content": document.content,
    }
    state.write(places.documents / f"{_file_name(document.name)}.json", state.dump(content))


def forget(places: Places, name: str) -> None:
    state.remove(places.documents / f"{_file_name(name)}.json")


def kept(places: Places) -> tuple[Document, ...]:
    """Every stored document; one that cannot be read is moved aside."""
    found = []
    for path in sorted(places.documents.glob("*.json")):
        try:
            stored = jsontext.decode_map(path.read_bytes(), str(path))
            content, validator = stored["content"], stored["validator"]
            if not isinstance(content, dict) or not isinstance(validator, dict):
                raise MetadataError(f"reading {path}: not a stored document")
            found.append(
                Document(
                    str(stored["source"]),
                    str(stored["name"]),
                    content,
                    str(stored["digest"]),
                    jsontext.number(stored["fetched_at"]),
                    {key: str(value) for key, value in validator.items()},
                )
            )
        except (MetadataError, KeyError) as exc:
            state.move_aside(path, str(exc))
        except OSError as exc:
            raise state.failure("reading", path, exc) from exc
    return tuple(found)


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else f"%{ord(c):02x}" for c in name)
