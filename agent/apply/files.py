"""A document of files applied: decide about every file first, then make it so, all or nothing, then tell the units.

What an entry replaced is kept (`originals`) and comes back when the entry leaves the document. A file that was already
as its entry wants it is not ours, and stays when the entry leaves.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agent import answers, state
from agent.apply import accounts, blocks, install, notes, notify, originals, place, scene_act
from agent.apply.files_document import Entry
from agent.apply.notes import Notes
from agent.apply.notify import Services, Units
from agent.apply.originals import Home, Memory, Written
from agent.apply.place import NEW_MODE, Change, Placement
from agent.apply.scene import ABSENT, DIRECTORY, FILE, LINK, OTHER, Node, Scene
from agent.apply.scene_act import changes
from agent.errors import ApplyError

Fetch: TypeAlias = Callable[[str], bytes]
"""Gives what a URL serves. Raises AgentError."""

LARGEST = 64 << 20
PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a document does. `changes` has a line for each file, also for those that left the document."""

    home: Path
    act: scene_act.Plan
    changes: tuple[Change, ...]
    before: Notes
    after: Notes
    due: Units
    over: bool = False  # there is a home in which nothing is left to remember

    @property
    def same(self) -> bool:
        """Whether applying would change nothing, tell nobody, and remember nothing new."""
        return not self.act.paths and self.before == self.after and not self.due and not self.over


@contextmanager
def locked(directory: Path, who: str) -> Iterator[None]:
    """One application at a time, of all documents that `directory` remembers. Raises Busy, StateError."""
    held = state.lock(directory / "lock", who)
    try:
        yield
    finally:
        held.release()


def fetch(url: str) -> bytes:
    """What a URL serves, tried again while it does not answer. Raises Refused, Unavailable."""
    from agent import transport  # noqa: PLC0415 - 60 ms, for those whose sources are URLs

    client = transport.Client(transport.Limits(read_s=60.0, total_s=600.0, size=LARGEST))
    try:
        answer = answers.persist(lambda: client.request("GET", url), deadline_s=PATIENCE_S)
        return answer.body
    finally:
        client.close()


def home_of(directory: Path, name: str) -> Path:
    """Where the originals of the document of that name are, below the directory of all documents."""
    return directory / hashlib.sha256(name.encode()).hexdigest()[:16]


def plan(entries: Iterable[Entry], root: Path, directory: Path, name: str, fetch: Fetch) -> Plan:
    """What is to be done; changes nothing. `directory` holds what all documents remember, `name` is this one's.

    Raises ApplyError for what cannot be done at all, and whatever `fetch` raises.
    """
    scene, where = Scene(root), home_of(directory, name)
    if not where.is_relative_to(root):
        raise ApplyError(f"keeping originals in {directory}: that is not below {root}; see HEAT_FILES_WORKING")
    home = Home(f"/{where.relative_to(root)}")
    memory, known = originals.read(scene, home), notes.read(where, name)
    wanted = _contents(scene, entries, fetch)
    paths = {scene.settle(entry.path): entry for entry in wanted}
    if len(paths) < len(wanted):
        raise ApplyError("placing the document's files: two paths lead to one file; leave one of them")
    _refuse_strangers(directory, where, paths)
    withdrawn = tuple(path for path in sorted(memory.saved) if path not in paths or _turned(memory, path, paths[path]))
    left = {path: originals.withdraw(scene, memory, path) for path in withdrawn}
    before, block = scene.copy(), " ".join(name.split())
    numbers = accounts.ids(scene)
    for path, entry in paths.items():
        _decide(scene, path, entry, wanted[entry], numbers(_owner(entry, scene, path)), block)
    written = [
        Written(path, block=block if entry.append else "")
        for path, entry in paths.items()
        if path in memory.saved or not _alike(before, scene, path)
    ]
    new = originals.remember(memory, before, scene, written, withdrawn)
    kept = {path for path, changed in left.items() if changed}
    keep, forget = originals.kept(before, memory, new, withdrawn), originals.forgotten(before, memory, new, kept)
    warnings = (f"{path} stays as it is: somebody changed it after it was placed" for path in sorted(kept - set(paths)))
    make, rest = (changes(keep), changes(scene)), tuple(map(changes, forget))
    act = scene_act.Plan(make, rest, withdrawn, tuple(warnings))
    listed = place.check(_placement(scene, path, paths.get(path)) for path in _shown(scene, paths, withdrawn))
    over = not new.saved and not kept and where.is_dir()
    after = Notes(name, {path: entry.units for path, entry in paths.items() if path in new.saved})
    return Plan(where, act, listed, known, after, _due(scene, listed, known, paths), over)


def apply(wanted: Plan, services: Services | None) -> None:
    """Carry it out; raises ApplyError when everything was put back, or when a unit was not told (the next run tells).

    Without `services` nobody is told.
    """
    if wanted.same:
        return
    due = Units() if services is None else wanted.due
    if due:
        notes.write(wanted.home, Notes(wanted.before.name, wanted.before.of, due))
    scene_act.apply(wanted.act)
    if services is not None:
        notify.tell(services, due)
    if wanted.over:
        _remove(wanted.home)
    elif wanted.after.of or wanted.home.is_dir():
        notes.write(wanted.home, wanted.after)


def _remove(home: Path) -> None:
    try:
        install.remove(home)
    except OSError as exc:
        reason = f"{exc.strerror}; run it again"
        raise ApplyError(f"the files are in their place, but {home} was not removed: {reason}") from exc


# ------------------------------------------------------------------------------------------------ decisions


def _contents(scene: Scene, entries: Iterable[Entry], fetch: Fetch) -> dict[Entry, bytes]:
    """Each entry with its content, read or fetched, and verified; without optional ones whose source is not there."""
    found = {}
    for entry in entries:
        content = entry.content
        if entry.source.startswith("/"):
            source = scene.follow(entry.source)
            if entry.optional and scene.node(source).kind == ABSENT:
                continue
            content = scene.content(source)
        elif entry.source:
            content = fetch(entry.source)
        digest = hashlib.sha256(content or b"").hexdigest()
        if entry.sha256 and digest != entry.sha256:
            raise ApplyError(f"placing {entry.path}: its content has the sha256 {digest}, not {entry.sha256}")
        found[entry] = content or b""
    return found


def _decide(scene: Scene, path: str, entry: Entry, content: bytes, owner: tuple[int, int], block: str) -> None:
    there = scene.node(path)
    if there.kind in {DIRECTORY, OTHER}:
        raise ApplyError(f"placing {path}: a {there.kind} is there; move it away")
    scene.make_parents(path)
    if entry.link:
        scene.put(path, Node(LINK, target=entry.link))
        return
    if entry.append:
        if there.kind == LINK:
            raise ApplyError(f"appending to {path}: a link is there; name the file that it leads to")
        if blocks.KEPT in content:
            raise ApplyError(
                f"appending to {path}: the content holds {blocks.KEPT.decode()!r}, as the block's own lines"
            )
        content = blocks.put(scene.content(path) if there.kind == FILE else b"", block, content, entry.comment)
    mode = _kept(scene, path).mode if entry.mode is None else entry.mode
    scene.put(path, Node(FILE, mode, *owner, content, validate=entry.validate))


def _kept(scene: Scene, path: str) -> Node:
    """Whose mode and owner a file keeps: those of the file there, or behind the link there; 0644 and ours for none."""
    node = Node()
    with suppress(ApplyError):  # links in a circle: there is no file behind them
        node = scene.node(scene.follow(path))
    return node if node.kind == FILE else Node(FILE, NEW_MODE, os.geteuid(), os.getegid())


def _owner(entry: Entry, scene: Scene, path: str) -> accounts.Owner:
    kept = _kept(scene, path)
    return accounts.Owner(entry.owner or str(kept.uid), entry.group or str(kept.gid), f"placing {entry.path}")


def _alike(before: Scene, scene: Scene, path: str) -> bool:
    """Whether what will be at the path is there without us."""
    was, will = before.node(path), scene.node(path)
    if (was.kind, was.target) != (will.kind, will.target):
        return False
    if will.kind == LINK:
        return True
    return (was.mode, was.uid, was.gid, before.content(path)) == (will.mode, will.uid, will.gid, scene.content(path))


def _turned(memory: Memory, path: str, entry: Entry) -> bool:
    """Whether all of a file becomes ours of which a block was, or the other way round."""
    prints = memory.placed.get(path, {}).get(path, ())
    return bool(prints) and any(map(blocks.is_print, prints)) != entry.append


def _refuse_strangers(directory: Path, home: Path, paths: Mapping[str, Entry]) -> None:
    """Two documents may append to one file; otherwise a file has one master."""
    for other in sorted(directory.glob("*/.placed.json")):
        if other.parent == home:
            continue
        for path, entry in notes.load(other).items():
            if path in paths and not (paths[path].append and "block:" in json.dumps(entry)):
                name = notes.read(other.parent, other.parent.name).name
                raise ApplyError(f"placing {path}: the document {name} has placed it; take it out of one of them")


def _shown(scene: Scene, paths: Iterable[str], withdrawn: Iterable[str]) -> list[str]:
    """The document's files, then those that left it, as far as they are files."""
    left = [path for path in withdrawn if path not in set(paths) and scene.seen(path).kind not in {DIRECTORY, OTHER}]
    return [*paths, *(path for path in left if scene.node(path).kind in {ABSENT, FILE, LINK})]


def _placement(scene: Scene, path: str, entry: Entry | None) -> Placement:
    """For the report; whether content that left the document was secret nobody knows any more."""
    node, where = scene.node(path), scene.place(path)
    secret = entry is None or entry.secret
    if node.kind == ABSENT:
        return Placement(where, None, secret=secret)
    if node.kind == LINK:
        return Placement(where, None, node.target)
    return Placement(where, scene.content(path), "", node.mode, node.uid, node.gid, secret, node.validate)


def _due(scene: Scene, listed: Iterable[Change], known: Notes, paths: Mapping[str, Entry]) -> Units:
    """Whom to tell: those of files that change, and those whom an earlier run did not come to tell."""
    due = known.pending
    for path, change in zip(_shown(scene, paths, ()), listed, strict=False):
        if change.word != place.UNCHANGED:
            due += paths[path].units
    gone = {change.path for change in listed if change.word != place.UNCHANGED}
    for path, units in known.of.items():
        if path not in paths and scene.place(path) in gone:
            due += units
    return due
