"""What was where a document has put something, and what it has put there: `/etc/kolla/defaults`.

`state` has Kolla's own form, so that its tools can go on from ours. What we need beyond it, to tell our files from
those that somebody changed since, is a file of its own beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from agent.apply.kolla_scene import ABSENT, DIRECTORY, FILE, LINK, Node, Scene
from agent.errors import ApplyError
from agent.model import Json

DEFAULTS = "/etc/kolla/defaults"
STATE = f"{DEFAULTS}/state"
PLACED = f"{DEFAULTS}/.placed.json"


@dataclass(frozen=True, slots=True)
class Memory:
    """`saved`: path -> its original's place, None where there was none. `placed`: path -> what is there by us."""

    saved: Mapping[str, str | None] = field(default_factory=dict)
    placed: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """A path that a document decides about; `merged` when what else is in a directory there stays."""

    path: str
    merged: bool


def read(scene: Scene) -> Memory:
    """What earlier runs remember, ours or those of Kolla's own tool. Raises ApplyError when it cannot be read."""
    state, placed = _load(scene, STATE), _load(scene, PLACED)
    saved: dict[str, str | None] = {}
    for path, entry in state.items():
        if not isinstance(entry, dict) or not path.startswith("/"):
            raise ApplyError(f"reading {STATE}: the entry {path} is none of Kolla's; restore the file, or remove it")
        # Kolla's tool swaps the two at each run
        places = (entry.get("source"), entry.get("dest"))
        saved[path] = next((p for p in places if isinstance(p, str) and p.startswith(f"{DEFAULTS}/")), None)
    known = {
        path: {inner: str(print_) for inner, print_ in entry.items()}
        for path, entry in placed.items()
        if isinstance(entry, dict)
    }
    return Memory(saved, known)


def _write(scene: Scene, memory: Memory) -> None:
    """Decide what both files will hold; where nothing is to be remembered and nothing was, there are none."""
    if not memory.saved and scene.node(scene.settle(STATE)).kind == ABSENT:
        return
    make_home(scene)
    for path, data in zip((STATE, PLACED), _written(memory), strict=True):
        where = scene.settle(path)
        there = scene.node(where)
        mode, uid, gid = (
            (there.mode, there.uid, there.gid) if there.kind == FILE else (0o644, os.geteuid(), os.getegid())
        )
        scene.put(where, Node(FILE, mode, uid, gid, data))


def make_home(scene: Scene) -> None:
    """Decide about the directory of originals: for us alone, as they may come from directories not all may enter."""
    home = scene.settle(DEFAULTS)
    if scene.node(home).kind != DIRECTORY:
        scene.make_parents(home)
        scene.put(home, Node(DIRECTORY, 0o700, os.geteuid(), os.getegid()))


def _upwards(path: str) -> list[str]:
    """The path and what is above it, outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(2, len(parts) + 1)]


def _overlap(one: str, other: str) -> bool:
    return f"{one}/".startswith(f"{other}/") or f"{other}/".startswith(f"{one}/")


def _written(memory: Memory) -> tuple[bytes, bytes]:
    """The bytes of `state` and of the file beside it."""
    state: dict[str, Json] = {
        path: {"source": path, "preserve_properties": True, "dest": saved} for path, saved in memory.saved.items()
    }
    placed = {path: dict(entry) for path, entry in memory.placed.items()}
    return json.dumps(state, indent=4).encode(), json.dumps(placed, indent=1, sort_keys=True).encode()


def original(path: str) -> str:
    """Where the original of a path is kept."""
    return DEFAULTS + path


def remember(
    memory: Memory, before: Scene, scene: Scene, written: Iterable[Written], withdrawn: Iterable[str]
) -> Memory:
    """What is to be known once the document is applied: an original is kept once, by the outermost path placed."""
    saved = {path: place for path, place in memory.saved.items() if path not in set(withdrawn)}
    placed: dict[str, dict[str, str]] = {}
    for entry in sorted(written, key=lambda known: known.path.split("/")):
        path, there = entry.path, before.node(entry.path).kind
        owner = next((above for above in _upwards(path) if above in saved), None)
        if owner is None and there == DIRECTORY and entry.merged:
            continue
        if owner is None:
            owner, saved[path] = path, None if there == ABSENT else original(path)
        if scene.node(path).kind != ABSENT:
            placed.setdefault(owner, {})[path] = _print(scene, path)
    return Memory(saved, placed)


def kept(before: Scene, memory: Memory, new: Memory, withdrawn: Iterable[str]) -> Scene:
    """Decisions to make before all others: originals are kept, and what is about to be placed is known."""
    scene = Scene(before.root)
    for path, place in new.saved.items():
        if place is None or path in memory.saved:
            continue
        where = scene.settle(place)
        if where in {scene.settle(STATE), scene.settle(PLACED)}:
            raise ApplyError(f"keeping the original of {path}: its place {place} is taken; choose another dest")
        make_home(scene)
        scene.remove(where)
        scene.make_parents(where)
        scene.graft(before, path, where)
    old = {path: memory.saved[path] for path in withdrawn}
    placed = {path: memory.placed[path] for path in withdrawn if path in memory.placed}
    _write(scene, Memory({**old, **new.saved}, {**placed, **new.placed}))
    return scene


def forgotten(before: Scene, memory: Memory, new: Memory, left: Collection[str]) -> Scene:
    """Decisions to make after all others: originals that are back in their place need not be kept."""
    scene = Scene(before.root)
    gone = [path for path in memory.saved if path not in new.saved]
    if not gone:
        return scene
    needed = [place for place in new.saved.values() if place]
    for path in gone:
        place = memory.saved[path]
        if place and path not in left and not any(_overlap(place, other) for other in needed):
            scene.remove(scene.settle(place))
    _write(scene, new)
    return scene


def withdraw(scene: Scene, memory: Memory, path: str) -> list[str]:
    """Decide that what was there before the document is there again; returns what is left as somebody changed it."""
    saved = memory.saved[path] and scene.settle(memory.saved[path] or "")
    if path not in memory.placed:  # Kolla's own tool has placed it, and does not tell what
        if saved is None and scene.node(path).kind == DIRECTORY:
            return [path]
        scene.remove(path)
    left = _clear(scene, memory.placed.get(path, {}))
    if saved is not None and scene.node(saved).kind != ABSENT:
        _restore(scene, saved, path, left)
    return left


def _clear(scene: Scene, placed: Mapping[str, str]) -> list[str]:
    """Take away what is still as we left it, and directories that are empty then."""
    left = []
    for inner in sorted(placed, reverse=True):
        node = scene.node(inner)
        if node.kind == ABSENT:
            continue
        if node.kind == DIRECTORY and placed[inner] == DIRECTORY:
            if not scene.names(inner):
                scene.remove(inner)
        elif _print(scene, inner) == placed[inner]:
            scene.remove(inner)
        else:
            left.append(inner)
    return left


def _restore(scene: Scene, saved: str, path: str, left: list[str]) -> None:
    """Put the original back wherever nothing of somebody else's stands."""
    here, was = scene.node(path), scene.node(saved)
    if here.kind == ABSENT:
        scene.make_parents(path)
        scene.graft(scene.copy(), saved, path)
        return
    if here.kind != DIRECTORY or was.kind != DIRECTORY:
        left.append(path)
        return
    scene.put(path, replace(was, mtime_ns=None))
    for name in scene.names(saved):
        _restore(scene, posixpath.join(saved, name), posixpath.join(path, name), left)


def _print(scene: Scene, path: str) -> str:
    node = scene.node(path)
    if node.kind == FILE:
        return f"sha256:{hashlib.sha256(scene.content(path)).hexdigest()}"
    return f"link:{node.target}" if node.kind == LINK else node.kind


def _load(scene: Scene, path: str) -> dict[str, Json]:
    where = scene.settle(path)
    if scene.node(where).kind == ABSENT:
        return {}
    try:
        loaded = json.loads(scene.content(where))
    except ValueError as exc:
        raise ApplyError(f"reading {path}: {exc}; restore the file, or remove it to forget all originals") from exc
    if not isinstance(loaded, dict):
        raise ApplyError(f"reading {path}: no object; restore the file, or remove it to forget all originals")
    return loaded
