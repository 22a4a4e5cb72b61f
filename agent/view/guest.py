"""The state on disk as values, for people: read only, without the daemon, in the time of a few small files.

Nothing is written, moved or locked for longer than a look. What cannot be read is left out, except where the whole
state may not be read: then the reader is told who may.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent import bulletin, journal, jsontext, model, parse, state
from agent.bulletin import Bulletin
from agent.errors import MetadataError, StateError
from agent.model import Deployment, Document, Entry, JsonMap
from agent.settings import Settings
from agent.state import Places

STAT = "/proc/stat"


@dataclass(frozen=True, slots=True)
class Known:
    """One deployment as the disk tells. Times are seconds of the epoch, 0 when there is none.

    `deployment` is what the newest document lists, else what was run; `listed` says which.
    """

    deployment: Deployment
    entry: Entry
    listed: bool
    record: JsonMap = field(repr=False)
    outcome: JsonMap = field(repr=False)
    came_at: float
    began_at: float
    ended_at: float
    settled_at: float
    held_until: float
    log: Path
    pid: int

    @property
    def status(self) -> int:
        """What the hook ended with; 0 as well when there is no outcome."""
        return parse.status_from(self.outcome.get("deploy_status_code"))

    @property
    def failed(self) -> bool:
        """Whether Heat takes the outcome for a failure."""
        return bool(self.status or model.failing_outputs(self.deployment, self.outcome))


@dataclass(frozen=True, slots=True)
class Guest:
    """All of it. `agent` is who holds the lock of the state, "" for nobody; `documents` are the last good ones."""

    places: Places
    bulletin: Bulletin
    agent: str
    pid: int
    booted_at: float
    documents: tuple[Document, ...]
    deployments: tuple[Known, ...]
    notice_s: float = 0.0

    def ending(self, now: float) -> tuple[tuple[str, float], ...]:
        """Certificates that end within the time of notice, or have ended: address or file, and when."""
        ends = self.bulletin.certificates.items()
        return tuple(sorted((name, end) for name, end in ends if end - now < self.notice_s))


def read(settings: Settings, *, everything: bool = False) -> Guest:
    """What is listed or runs, in Heat's order; `everything` adds what the journal remembers, oldest first.

    Raises StateError when the state may not be read.
    """
    places = Places(settings.path(settings.state_dir), settings.path(settings.deployed_dir))
    _may_read(places)
    posted = bulletin.read(places)
    documents = _documents(places, posted.sources)
    listed = {d.key: (d, document) for document in reversed(documents) for d in reversed(_listed(document, settings))}
    listed = dict(reversed(listed.items()))  # Heat's order, and of an id that is listed twice the first
    keys = list(listed)
    if everything or not documents:
        keys = [*_by_time(places, set(_stems(places.journal)) - listed.keys()), *keys]
    else:
        keys += [stem for stem in _stems(places.locks, ".lock") if stem not in listed]
    holder = state.holder_of(places.agent_lock) if state.held(places.agent_lock) else {}
    return Guest(
        places=places,
        bulletin=posted,
        agent=str(holder.get("who", "")),
        pid=int(jsontext.number(holder.get("pid"))),
        booted_at=booted_at(settings),
        documents=documents,
        deployments=tuple(_known(key, listed.get(key), posted, places, settings) for key in keys),
        notice_s=settings.certificate_notice,
    )


def booted_at(settings: Settings) -> float:
    """When this machine was booted, 0 where that is not to be known. See proc(5), btime."""
    for path in (settings.path(STAT), Path(STAT)):
        with suppress(OSError):  # below another root there is none
            lines = path.read_text("ascii", "replace").splitlines()
            return next((float(line.split()[1]) for line in lines if line.startswith("btime ")), 0.0)
    return 0.0


def _may_read(places: Places) -> None:
    for directory in (places.state, places.journal, places.deployed):
        try:
            os.listdir(directory)
        except FileNotFoundError:  # nothing was kept there yet
            continue
        except OSError as exc:
            raise StateError(
                f"reading the agent's state in {directory}: {exc.strerror}; run this as root, or as the user that the "
                "agent runs as"
            ) from exc


def _documents(places: Places, sources: Collection[str]) -> tuple[Document, ...]:
    """The last good documents, in the order of the sources that the agent asks."""
    found = []
    for path in sorted(places.documents.glob("*.json")):
        stored = _read(path)
        content, source = stored.get("content"), str(stored.get("source", ""))
        if isinstance(content, dict) and (not sources or source in sources):
            name, fetched_at = str(stored.get("name", "")), jsontext.number(stored.get("fetched_at"))
            found.append(Document(source, name, content, str(stored.get("digest", "")), fetched_at, {}))
    order = list(sources)
    return tuple(sorted(found, key=lambda d: (order.index(d.source) if d.source in order else 0, d.name)))


def _listed(document: Document, settings: Settings) -> tuple[Deployment, ...]:
    return parse.deployments(document, settings.deployment_key).deployments


def _known(
    key: str,
    found: tuple[Deployment, Document] | None,
    posted: Bulletin,
    places: Places,
    settings: Settings,
) -> Known:
    listed, document = found or (None, None)
    entry, record, outcome = _look(key, places)
    if entry.progress == model.INTERRUPTED:  # or its runner has just ended: then its outcome is there by now
        entry, record, outcome = _look(key, places)
    began_at = _not_before(entry.received_at, _modified(places.mark(key)))
    pid = int(jsontext.number(state.holder_of(places.lock(key)).get("pid"))) if entry.progress == model.RUNNING else 0
    return Known(
        deployment=listed or parse.deployment({**_facts(record), **_read(places.mark(key)), "id": entry.id or key}),
        entry=entry,
        listed=listed is not None,
        record=record,
        outcome=outcome,
        came_at=_came(entry, record, document),
        began_at=began_at,
        ended_at=_not_before(began_at, _modified(places.outcome(key))) if outcome else 0.0,
        settled_at=jsontext.number(record.get(f"{entry.progress}_at")),
        held_until=posted.held.get(key, 0.0) if entry.progress == model.RECEIVED else 0.0,
        log=settings.path(settings.log_dir) / f"{key}.log",
        pid=pid,
    )


def _came(entry: Entry, record: JsonMap, document: Document | None) -> float:
    """Since when it waits: since the document came that lists it, where this is no second run of it."""
    times = (entry.received_at, 0.0 if record.get("again") or document is None else document.fetched_at)
    return min((at for at in times if at), default=0.0)


def _look(key: str, places: Places) -> tuple[Entry, JsonMap, JsonMap]:
    """Where a deployment stands, its record and its outcome. The runner first: it stores before it goes."""
    record = _read(places.journal / f"{key}.json")
    running = state.held(places.lock(key))
    begun = places.mark(key).exists()
    outcome = model.shown(_read(places.outcome(key))) if begun else {}
    entry = journal.standing(key, record or None, begun=begun, outcome=lambda _: outcome, running=lambda _: running)
    return entry, record, outcome if entry.progress not in (model.RUNNING, model.RECEIVED) else {}


def entry(key: str, places: Places) -> Entry:
    """Where one deployment stands, whoever listed it."""
    return _look(key, places)[0]


def _facts(record: Mapping[str, object]) -> JsonMap:
    return {name: str(record[name]) for name in ("name", "group") if name in record}


def _by_time(places: Places, keys: Collection[str]) -> list[str]:
    return sorted(keys, key=lambda key: (_modified(places.journal / f"{key}.json"), key))


def _stems(directory: Path, suffix: str = ".json") -> list[str]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:  # nothing was kept there yet
        return []
    return sorted(name.removesuffix(suffix) for name in names if name.endswith(suffix) and name[0] != ".")


def _read(path: Path) -> JsonMap:
    """A JSON object, {} when there is none; who owns the file moves aside what cannot be read."""
    with suppress(OSError, MetadataError):
        return jsontext.decode_map(path.read_bytes(), str(path))
    return {}


def _not_before(earlier: float, modified: float) -> float:
    """A file's time, which the kernel takes from a clock that ticks every few milliseconds; 0 stays 0."""
    return max(earlier, modified) if modified else 0.0


def _modified(path: Path) -> float:
    with suppress(OSError):  # not there
        return path.stat().st_mtime
    return 0.0
