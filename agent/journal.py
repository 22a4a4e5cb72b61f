"""The journal: which deployment got how far.

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

A mark holds the deployment without its secrets: nobody reads them there but programs that signal by a mark, for whom
the old doors keep it whole (`whole_marks`) until the outcome was taken. `strip` takes them out then, and out of the
outcome what is secret by its name; after a crash in between the next `open` finds what is left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from agent import jsontext, keeping, masking, model, parse, state
from agent.errors import MetadataError, StateError
from agent.model import Deployment, Entry, Json, JsonMap
from agent.state import Places

_ABOUT_SENDING = frozenset({"tries", "reason", "next_try_at", "refused_at", "superseded_at", "signalled_at"})
FOREIGN_S = 86400.0  # the old tools may be at it still, and signal by what their mark says
_FORGETTABLE = model.SETTLED | {model.UNKNOWN, model.RECEIVED}


class Journal:
    """The memory of which deployment got how far. One agent writes it (see `lock`), its runners write outcomes."""

    def __init__(self, places: Places, clock: Callable[[], float] = time.time, *, whole_marks: bool = False) -> None:
        self.places = places
        self._clock = clock
        self._whole_marks = whole_marks
        self._unstripped: set[str] = set()  # keys of which more may be kept than is needed
        self._entries: dict[str, Entry] = {}
        self._records: dict[str, JsonMap] = {}

    def open(self) -> None:
        """Make the directories, clear what a power cut left half-written, read every record."""
        for directory in (self.places.state, self.places.journal, self.places.locks, self.places.documents):
            state.make_directory(directory)
        state.make_directory(self.places.deployed)
        self._records = {}
        for directory in (self.places.state, self.places.journal, self.places.deployed, self.places.documents):
            for left in directory.glob(".*.tmp"):
                with suppress(OSError):  # on a read-only disk it does no harm
                    left.unlink()
        for path in sorted(self.places.journal.glob("*.json")):
            self._records[path.stem] = self._read(path, {"state": model.RECEIVED, "recovered": True})
        self._entries = {key: self._look(key) for key in self._records}
        marks = (path.stem for path in self.places.deployed.glob("[!.]*.json") if not path.stem.endswith(".notify"))
        self._unstripped = {key for key in marks if not self._records.get(key, {}).get("bare")}

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
            raise state.failure("listing", self.places.deployed, exc) from exc
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
                **({"again": True} if deployment.key in self._records else {}),
            },
        )

    def begin(self, deployment: Deployment) -> None:
        """The mark that makes a hook run at most once. On return the hook may start; after an error it must not."""
        self.received(deployment)
        state.remove(self.places.outcome(deployment.key))  # of an earlier run that an operator asked to repeat
        try:
            whole = parse.for_executable(deployment)
            mark = whole if self._whole_marks else keeping.bare_deployment(whole)
            state.write(self.places.mark(deployment.key), state.dump(mark, indent=2))
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
        state.remove(self.places.mark(key))
        self.refresh(key)

    def finish(self, key: str, body: Mapping[str, Json]) -> None:
        """Store an outcome, as the signal's body. Called by the runner, and by the agent where no hook was run."""
        state.write(self.places.outcome(key), state.dump(body))
        if key in self._entries:
            self.refresh(key)

    def outcome(self, key: str) -> JsonMap:
        """The stored outcome; raises MetadataError when there is none that can be read."""
        path = self.places.outcome(key)
        try:
            return jsontext.decode_map(path.read_bytes(), str(path))
        except OSError as exc:
            raise MetadataError(f"reading the outcome {path}: {exc.strerror}") from exc

    def settle(self, key: str, progress: str, reason: str = "") -> None:
        """The outcome needs no more sending: `progress` is signalled, refused or superseded."""
        facts: JsonMap = {"state": progress, "reason": reason, f"{progress}_at": self._clock()}
        self._store(key, {**self.record(key), **facts, "bare": not self._holds_secrets(key)})
        self._unstripped.add(key)

    def strip(self) -> None:
        """Take secrets out of the marks and outcomes that are done with. Raises StateError; the next call goes on."""
        for key in sorted(key for key in self._unstripped if self.entry(key).progress in model.SETTLED):
            if key in self._records or self._marked_at(key) < self._clock() - FOREIGN_S:
                self._strip(key)
                self._unstripped.discard(key)

    def _strip(self, key: str) -> None:
        mark, body = _content(self.places.mark(key)), _content(self.places.outcome(key))
        if keeping.held({"": [mark]}):
            state.write(self.places.mark(key), state.dump(keeping.bare_deployment(mark), indent=2))
        rest = {**model.shown(body), **dict.fromkeys(keeping.secret_outputs(body), masking.MASK)}
        if rest != body:
            if key in self._records:  # first: an outcome that lacks them is not to be sent again
                changed = [name for name in rest if rest[name] != body[name] and not name.startswith("deploy_")]
                self.note(key, not_kept=[*changed])
            state.write(self.places.outcome(key), state.dump(rest))
        if key in self._records and not self._records[key].get("bare"):
            self.note(key, bare=True)

    def _marked_at(self, key: str) -> float:
        """Seconds since the epoch; infinity for a mark that is gone."""
        try:
            return self.places.mark(key).stat().st_mtime
        except OSError:
            return float("inf")

    def _holds_secrets(self, key: str) -> bool:
        mark, body = _content(self.places.mark(key)), _content(self.places.outcome(key))
        return bool(keeping.held({"": [mark]}) or keeping.secret_outputs(body) or model.MASKED in body)

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

    def requeue(self, key: str, asked_at: float) -> None:
        """Let a stored outcome be sent (again), as an operator asked at `asked_at`; done once for each asking."""
        facts = {name: value for name, value in self.record(key).items() if name not in _ABOUT_SENDING}
        self._store(key, {**facts, "state": model.RECEIVED, "requeued_at": asked_at})

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
            (jsontext.number(record["left_at"]), key)
            for key, record in self._records.items()
            if "left_at" in record and self.entry(key).progress in _FORGETTABLE
        )
        excess = len(gone) - at_most
        oldest = self._clock() - older_than_s
        doomed = tuple(key for number, (left_at, key) in enumerate(gone) if left_at < oldest or number < excess)
        for key in doomed:
            # the mark goes last: until then the entry is settled or foreign, and both count as done
            for path in (self.places.outcome(key), self.places.journal / f"{key}.json", self.places.mark(key)):
                state.remove(path)
            self._entries.pop(key, None)
            self._records.pop(key, None)
        return doomed

    def _store(self, key: str, record: JsonMap) -> None:
        state.write(self.places.journal / f"{key}.json", state.dump(record))
        self._records[key] = record
        self.refresh(key)

    def _look(self, key: str) -> Entry:
        begun = self.places.mark(key).exists()
        return standing(key, self._records.get(key), begun=begun, outcome=self._stored_outcome, running=self.running)

    def _stored_outcome(self, key: str) -> JsonMap:
        """The outcome that is there; nothing when there is none, or none that can be read."""
        path = self.places.outcome(key)
        if not path.exists():
            return {}
        try:
            return jsontext.decode_map(path.read_bytes(), str(path)) or {"deploy_status_code": 0}
        except MetadataError as exc:
            state.move_aside(path, str(exc))
            return {}

    def lock_path(self, key: str) -> Path:
        return self.places.lock(key)

    def running(self, key: str) -> bool:
        """Whether a runner lives: the kernel keeps its lock exactly as long."""
        return state.held(self.lock_path(key))

    def _read(self, path: Path, otherwise: JsonMap) -> JsonMap:
        try:
            return jsontext.decode_map(path.read_bytes(), str(path))
        except MetadataError as exc:
            state.move_aside(path, str(exc))
            return otherwise
        except OSError as exc:
            raise state.failure("reading", path, exc) from exc


def _content(path: Path) -> JsonMap:
    """What a mark or an outcome holds; {} where there is none, or one of the old tools that is empty or damaged."""
    with suppress(OSError, MetadataError):
        return jsontext.decode_map(path.read_bytes(), str(path))
    return {}


def standing(
    key: str,
    record: JsonMap | None,
    *,
    begun: bool,
    outcome: Callable[[str], JsonMap],
    running: Callable[[str], bool],
) -> Entry:
    """The table in the module's docstring; `outcome` is {} where there is none."""
    if record is None:
        return Entry(key, model.FOREIGN if begun else model.UNKNOWN)
    recorded = str(record.get("state"))
    if not begun:
        progress = model.RECEIVED if recorded == model.RECEIVED else model.UNKNOWN
    elif recorded in model.SETTLED:
        progress = recorded
    else:
        alive = running(key)  # asked first: who sees the lock free sees the outcome that was stored before
        progress = _of_outcome(outcome(key)) or (model.RUNNING if alive else model.INTERRUPTED)
    return Entry(
        key,
        progress,
        id=str(record.get("id", "")),
        source=str(record.get("source", "")),
        received_at=jsontext.number(record.get("received_at")),
        tries=int(jsontext.number(record.get("tries"))),
        next_try_at=jsontext.number(record.get("next_try_at")),
        reason=str(record.get("reason", "")),
        attempt=int(jsontext.number(record.get("attempt"))) or 1,
        reboots=int(jsontext.number(record.get("reboots"))),
        left_boot=str(record.get("left_boot", "")),
        group=str(record.get("group", "")),
        cleaned="cleaned_at" in record,
    )


def _of_outcome(body: JsonMap) -> str:
    """How far a hook got whose outcome this is; "" when there is none."""
    if not body:
        return ""
    return model.REBOOTING if model.REBOOT_FROM in body else model.FINISHED
