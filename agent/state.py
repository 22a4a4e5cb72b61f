"""What must outlive us: the journal, the documents, the lock. Files that `cat` shows, each written whole or not at all.

One deployment leaves three files, and where it stands follows from which of them exist:

    journal/<key>.json           deployed/<key>.json    <key>.notify.json    lock        progress
    -                            -                      -                                unknown
    state received               -                      -                                received
    (any)                        yes                    -                    held        running
    (any)                        yes                    -                    free        interrupted
    state received               yes                    yes                              finished
    state received               yes                    asks for a reboot                rebooting
    state signalled, refused …   yes                    yes                              the state
    -                            yes                    (any)                            foreign: the old tools did it

So removing deployed/<key>.json forces a rerun, as it always did. Each file is durable before the next arrow: journal
before mark, mark before hook, outcome before signal.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agent import jsontext, log, model
from agent.errors import Busy, MetadataError, StateError
from agent.model import Deployment, Document, Entry, Json, JsonMap

LOCK_WAIT_S = 30.0
_FORGETTABLE = model.SETTLED | {model.UNKNOWN, model.RECEIVED}


def write(path: Path, data: bytes) -> None:
    """Replace `path` by `data`, mode 0600, durable on return; a reader sees the old file or the new one.

    Raises StateError when the disk is full, read-only or failing; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _directory(path.parent) as directory:
            fd = os.open(temporary.name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600, dir_fd=directory)
            try:
                _write_all(fd, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary.name, path.name, src_dir_fd=directory, dst_dir_fd=directory)
            os.fsync(directory)
    except OSError as exc:
        with suppress(OSError):  # the error that matters is the first one
            temporary.unlink()
        raise _failure("writing", path, exc) from exc


def remove(path: Path) -> None:
    """Remove `path`, durably; it need not be there."""
    try:
        with suppress(FileNotFoundError):
            path.unlink()
            with _directory(path.parent) as directory:
                os.fsync(directory)
    except OSError as exc:
        raise _failure("removing", path, exc) from exc


def make_directory(path: Path) -> None:
    """A directory for us alone (0700); parents that are missing are made 0755, existing ones are left as they are."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise _failure("making the directory", path, exc) from exc


def _failure(doing: str, path: Path, exc: OSError) -> StateError:
    advice = {
        errno.ENOSPC: "free some space",
        errno.EDQUOT: "raise the quota",
        errno.EROFS: "mount it read-write",
        errno.EACCES: "run as root or give a --root of your own",
        errno.EPERM: "run as root or give a --root of your own",
    }.get(exc.errno or 0, "look at the disk")
    return StateError(f"{doing} {path}: {exc.strerror}; {advice}, no deployment is begun before that")


@contextmanager
def _directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _dump(content: Mapping[str, Json], *, indent: int | None = None) -> bytes:
    return json.dumps(content, indent=indent).encode() + b"\n"


# ------------------------------------------------------------------------------------------------- locks


class Lock:
    """An exclusive flock(2) that lives as long as its descriptor, so the kernel drops it with its last holder."""

    def __init__(self, path: Path, fd: int) -> None:
        self.path = path
        self._fd = fd

    def note(self, content: Mapping[str, Json]) -> None:
        """Tell readers who holds it. A convenience, so no disk error matters."""
        with suppress(OSError):
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, _dump(content), 0)

    def release(self) -> None:
        os.close(self._fd)

    def fileno(self) -> int:
        return self._fd


def try_lock(path: Path) -> Lock | None:
    """The lock, or None when somebody holds it. Raises StateError when the file cannot be made."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise _failure("locking", path, exc) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return None
    return Lock(path, fd)


def lock(path: Path, who: str, *, wait_s: float = LOCK_WAIT_S, sleep: Callable[[float], None] = time.sleep) -> Lock:
    """The lock of the state directory, for one agent at a time; raises Busy after `wait_s`, saying who holds it."""
    deadline = time.monotonic() + wait_s
    make_directory(path.parent)
    while (held := try_lock(path)) is None:
        if time.monotonic() >= deadline:
            holder = holder_of(path)
            raise Busy(
                f"waiting {wait_s:.0f} s for {path}: {holder.get('who', 'another process')} "
                f"(pid {holder.get('pid', 'unknown')}) holds it; stop that one, or wait for it"
            )
        sleep(0.1)
    held.note({"pid": os.getpid(), "who": who})
    return held


def holder_of(path: Path) -> JsonMap:
    """What the holder of a lock wrote into it, {} when there is nothing to read."""
    try:
        return jsontext.decode_map(path.read_bytes(), str(path))
    except (OSError, MetadataError):
        return {}


# ----------------------------------------------------------------------------------------------- journal


@dataclass(frozen=True, slots=True)
class Places:
    """Where the state of one agent lives."""

    state: Path
    deployed: Path

    @property
    def journal(self) -> Path:
        return self.state / "journal"

    @property
    def locks(self) -> Path:
        return self.state / "running"

    @property
    def documents(self) -> Path:
        return self.state / "documents"

    @property
    def agent_lock(self) -> Path:
        return self.state / "lock"

    def mark(self, key: str) -> Path:
        return self.deployed / f"{key}.json"

    def outcome(self, key: str) -> Path:
        return self.deployed / f"{key}.notify.json"


class Journal:
    """The memory of which deployment got how far. One agent writes it (see `lock`), its runners write outcomes."""

    def __init__(self, places: Places, clock: Callable[[], float] = time.time) -> None:
        self.places = places
        self._clock = clock
        self._entries: dict[str, Entry] = {}
        self._records: dict[str, JsonMap] = {}

    def open(self) -> None:
        """Make the directories, clear what a power cut left half-written, read every record."""
        for directory in (self.places.state, self.places.journal, self.places.locks, self.places.documents):
            make_directory(directory)
        make_directory(self.places.deployed)
        self._records = {}
        for directory in (self.places.journal, self.places.deployed, self.places.documents):
            for left in directory.glob(".*.tmp"):
                with suppress(OSError):  # on a read-only disk it does no harm
                    left.unlink()
        for path in sorted(self.places.journal.glob("*.json")):
            self._records[path.stem] = self._read(path, {"state": model.RECEIVED, "recovered": True})
        self._entries = {key: self._look(key) for key in self._records}

    def entry(self, key: str) -> Entry:
        """What is known of one deployment, from memory once it was looked at."""
        if key not in self._entries:
            self._entries[key] = self._look(key)
        return self._entries[key]

    def entries(self) -> Mapping[str, Entry]:
        """All that the agent has a record of, by key."""
        return self._entries

    def rescan(self) -> None:
        """Notice marks that an operator removed (to force a rerun) or another tool made since the last look."""
        try:
            names = set(os.listdir(self.places.deployed))
        except OSError as exc:
            raise _failure("listing", self.places.deployed, exc) from exc
        for key, entry in list(self._entries.items()):
            if (f"{key}.json" in names) is (entry.progress in (model.UNKNOWN, model.RECEIVED)):
                self.refresh(key)

    def refresh(self, key: str) -> Entry:
        """Look at the disk again: a runner or an operator changed something there."""
        self._entries[key] = self._look(key)
        return self._entries[key]

    def record(self, key: str) -> JsonMap:
        return dict(self._records.get(key, {}))

    def received(self, deployment: Deployment) -> None:
        """Remember that the deployment is ours to do. An entry that is done starts anew (its mark was removed)."""
        if self.entry(deployment.key).progress == model.RECEIVED and deployment.key in self._records:
            return
        self._store(
            deployment.key,
            {
                "state": model.RECEIVED,
                "id": deployment.id,
                "name": deployment.name,
                "group": deployment.group,
                "action": deployment.action,
                "source": deployment.source,
                "transport": deployment.endpoint.transport,
                "stack": deployment.endpoint.stack_id,
                "received_at": self._clock(),
            },
        )

    def begin(self, deployment: Deployment) -> None:
        """The mark that makes a hook run at most once. On return the hook may start; after an error it must not."""
        self.received(deployment)
        remove(self.places.outcome(deployment.key))  # of an earlier run that an operator asked to repeat
        try:
            write(self.places.mark(deployment.key), _dump(deployment.raw, indent=2))
        except StateError:
            self.not_begun(deployment.key)
            raise
        self._entries[deployment.key] = replace(self.entry(deployment.key), progress=model.RUNNING)

    def not_begun(self, key: str) -> None:
        """The hook could not be started after all: without its mark it is tried again, with it it were interrupted."""
        with suppress(OSError):  # "interrupted" is what a mark that stays comes to, and no lie to anybody
            self.places.mark(key).unlink()
        self._entries.pop(key, None)  # to be looked at again: for as long as the caller holds its lock it seems to run

    def note(self, key: str, **facts: Json) -> None:
        """Remember more of a deployment, durably: attempts, reboots."""
        self._store(key, {**self.record(key), **facts})

    def unmark(self, key: str) -> None:
        """Let a deployment that was begun be run again. What bounds how often is to be noted first."""
        remove(self.places.mark(key))
        self.refresh(key)

    def finish(self, key: str, body: Mapping[str, Json]) -> None:
        """Store an outcome, as the signal's body. Called by the runner, and by the agent where no hook was run."""
        write(self.places.outcome(key), _dump(body))
        if key in self._entries:
            self.refresh(key)

    def outcome(self, key: str) -> JsonMap:
        """The stored outcome; raises MetadataError when there is none that can be read."""
        path = self.places.outcome(key)
        try:
            return jsontext.decode_map(path.read_bytes(), str(path))
        except OSError as exc:
            raise MetadataError(f"reading the outcome {path}: {exc.strerror}") from exc

    def settle(self, key: str, state: str, reason: str = "") -> None:
        """The outcome needs no more sending: `state` is signalled, refused or superseded."""
        self._store(key, {**self.record(key), "state": state, "reason": reason, f"{state}_at": self._clock()})

    def tried(self, key: str, reason: str, next_try_at: float) -> None:
        """A try to send the outcome failed; the next one is due at `next_try_at`."""
        tries = self.entry(key).tries + 1
        self._store(key, {**self.record(key), "tries": tries, "reason": reason, "next_try_at": next_try_at})

    def keep_unsent(self, deployment: Deployment, body: Mapping[str, Json], reason: str) -> None:
        """Take over an outcome that one of the old doors could not deliver: the agent goes on trying."""
        self.finish(deployment.key, body)
        if self.entry(deployment.key).progress == model.FOREIGN:
            self.received(deployment)
        self.tried(deployment.key, reason, self._clock())

    def note_listed(self, listed: frozenset[str]) -> None:
        """Remember since when a settled entry is in no document, and forget that when it is back."""
        for key, record in list(self._records.items()):
            if key not in listed and "left_at" not in record and self.entry(key).progress in _FORGETTABLE:
                self._store(key, {**record, "left_at": self._clock()})
            elif key in listed and "left_at" in record:
                self._store(key, {name: value for name, value in record.items() if name != "left_at"})

    def prune(self, *, older_than_s: float, at_most: int) -> tuple[str, ...]:
        """Forget settled entries that left the metadata long ago, or are too many; returns their keys."""
        gone = sorted(
            (_number(record["left_at"]), key)
            for key, record in self._records.items()
            if "left_at" in record and self.entry(key).progress in _FORGETTABLE
        )
        excess = len(gone) - at_most
        oldest = self._clock() - older_than_s
        doomed = tuple(key for number, (left_at, key) in enumerate(gone) if left_at < oldest or number < excess)
        for key in doomed:
            # the mark goes last: until then the entry is settled or foreign, and both count as done
            for path in (self.places.outcome(key), self.places.journal / f"{key}.json", self.places.mark(key)):
                remove(path)
            self._entries.pop(key, None)
            self._records.pop(key, None)
        return doomed

    def _store(self, key: str, record: JsonMap) -> None:
        write(self.places.journal / f"{key}.json", _dump(record))
        self._records[key] = record
        self.refresh(key)

    def _look(self, key: str) -> Entry:
        """The table in the module's docstring."""
        record = self._records.get(key)
        begun = self.places.mark(key).exists()
        if record is None:
            return Entry(key, model.FOREIGN if begun else model.UNKNOWN)
        state = str(record.get("state"))
        if not begun:
            progress = model.RECEIVED if state == model.RECEIVED else model.UNKNOWN
        elif state in model.SETTLED:
            progress = state
        elif outcome := self._stored_outcome(key):
            progress = model.REBOOTING if model.REBOOT_FROM in outcome else model.FINISHED
        else:
            progress = model.RUNNING if self.running(key) else model.INTERRUPTED
        return Entry(
            key,
            progress,
            id=str(record.get("id", "")),
            source=str(record.get("source", "")),
            received_at=_number(record.get("received_at")),
            tries=int(_number(record.get("tries"))),
            next_try_at=_number(record.get("next_try_at")),
            reason=str(record.get("reason", "")),
            attempt=int(_number(record.get("attempt"))) or 1,
            reboots=int(_number(record.get("reboots"))),
            left_boot=str(record.get("left_boot", "")),
        )

    def _stored_outcome(self, key: str) -> JsonMap:
        """The outcome that is there; nothing when there is none, or none that can be read."""
        path = self.places.outcome(key)
        if not path.exists():
            return {}
        try:
            return jsontext.decode_map(path.read_bytes(), str(path)) or {"deploy_status_code": 0}
        except MetadataError as exc:
            _move_aside(path, str(exc))
            return {}

    def lock_path(self, key: str) -> Path:
        return self.places.locks / f"{key}.lock"

    def running(self, key: str) -> bool:
        """Whether a runner lives: the kernel keeps its lock exactly as long."""
        path = self.lock_path(key)
        if not path.exists():
            return False
        held = try_lock(path)
        if held is None:
            return True
        held.release()
        return False

    def _read(self, path: Path, otherwise: JsonMap) -> JsonMap:
        try:
            return jsontext.decode_map(path.read_bytes(), str(path))
        except MetadataError as exc:
            _move_aside(path, str(exc))
            return otherwise
        except OSError as exc:
            raise _failure("reading", path, exc) from exc


def _move_aside(path: Path, why: str) -> None:
    log.error("unreadable state moved aside", file=str(path), reason=why, to=f"{path.name}.corrupt")
    with suppress(OSError):  # on a read-only disk it is looked at again each time
        path.rename(path.with_name(f"{path.name}.corrupt"))


def _number(value: Json) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


# --------------------------------------------------------------------------------------------- documents


def keep_document(places: Places, document: Document) -> None:
    """Store the last good document of a source, for the time when the source is down or we were restarted."""
    content: JsonMap = {
        "source": document.source,
        "name": document.name,
        "digest": document.digest,
        "fetched_at": document.fetched_at,
        "validator": dict(document.validator),
        "content": document.content,
    }
    write(places.documents / f"{_file_name(document.name)}.json", _dump(content))


def forget_document(places: Places, name: str) -> None:
    remove(places.documents / f"{_file_name(name)}.json")


def kept_documents(places: Places) -> tuple[Document, ...]:
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
                    _number(stored["fetched_at"]),
                    {key: str(value) for key, value in validator.items()},
                )
            )
        except (MetadataError, KeyError) as exc:
            _move_aside(path, str(exc))
        except OSError as exc:
            raise _failure("reading", path, exc) from exc
    return tuple(found)


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else f"%{ord(c):02x}" for c in name)
