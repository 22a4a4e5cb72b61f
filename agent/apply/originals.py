"""What was where a document has put something, and what it has put there; the one keeper of originals.

Each document has a home, in which originals are kept under the path that they had, each once, and put back when its
entry leaves the document. `state` has the form of Kolla's own file, so that its tools can go on from ours. What is
needed beyond it, to tell our files from those that somebody changed since, is a file of its own beside it. While a
document is being applied, that one knows what was placed before and what is about to be: killed anywhere between, the
next run takes either for ours.
"""

from __future__ import annotations

import hashlib
import json
import os
import posixpath
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from agent.apply import blocks
from agent.apply.scene import ABSENT, DIRECTORY, FILE, LINK, Node, Scene
from agent.errors import ApplyError
from agent.model import Json

Prints: TypeAlias = "Mapping[str, tuple[str, ...]]"
"""Path -> what tells our content there from another's; more than one while it is being replaced."""


@dataclass(frozen=True, slots=True)
class Home:
    """The directory, as the guest spells it, in which a document's originals and the memory of them are."""

    directory: str

    @property
    def state(self) -> str:
        return f"{self.directory}/state"

    @property
    def placed(self) -> str:
        return f"{self.directory}/.placed.json"

    @property
    def both(self) -> tuple[str, str]:
        """The memory, in the order in which it is written: what is placed is known before it is listed."""
        return (self.placed, self.state)

    def original(self, path: str) -> str:
        """Where the original of a path is kept."""
        return self.directory + path


@dataclass(frozen=True, slots=True)
class Memory:
    """`saved`: path -> its original's place, None where there was none. `placed`: path -> what is there by us."""

    home: Home
    saved: Mapping[str, str | None] = field(default_factory=dict)
    placed: Mapping[str, Prints] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Written:
    """A path that a document decides about; `merged` when what else is in a directory there stays.

    `block` is the name of the part of the file that is ours, "" where all of it is.
    """

    path: str
    merged: bool = False
    block: str = ""


def read(scene: Scene, home: Home) -> Memory:
    """What earlier runs remember, ours or those of Kolla's own tool. Raises ApplyError when it cannot be read."""
    state, placed = _load(scene, home.state), _load(scene, home.placed)
    saved: dict[str, str | None] = {}
    for path, entry in state.items():
        if not isinstance(entry, dict) or not path.startswith("/"):
            raise ApplyError(f"reading {home.state}: the entry {path} is no object; restore the file, or remove it")
        # Kolla's tool swaps the two at each run
        places = (entry.get("source"), entry.get("dest"))
        saved[path] = next((p for p in places if isinstance(p, str) and p.startswith(f"{home.directory}/")), None)
    known = {
        path: {inner: tuple(map(str, prints)) for inner, prints in entry.items() if isinstance(prints, list)}
        for path, entry in placed.items()
        if isinstance(entry, dict)
    }
    return Memory(home, saved, known)


def _write(scene: Scene, memory: Memory, *paths: str) -> None:
    """Decide what these files hold; where nothing is to be remembered and nothing was, there are none."""
    home = memory.home
    if not memory.saved and scene.node(scene.settle(home.state)).kind == ABSENT:
        return
    make_home(scene, home)
    content = dict(zip((home.state, home.placed), _written(memory), strict=True))
    for path in paths:
        where = scene.settle(path)
        there = scene.node(where)
        mode, uid, gid = (
            (there.mode, there.uid, there.gid) if there.kind == FILE else (0o644, os.geteuid(), os.getegid())
        )
        scene.put(where, Node(FILE, mode, uid, gid, content[path]))


def make_home(scene: Scene, home: Home) -> None:
    """Decide about the directory of originals: for us alone, as they may come from directories not all may enter."""
    directory = scene.settle(home.directory)
    if scene.node(directory).kind != DIRECTORY:
        scene.make_parents(directory)
        scene.put(directory, Node(DIRECTORY, 0o700, os.geteuid(), os.getegid()))


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
    placed = {path: {inner: sorted(prints) for inner, prints in entry.items()} for path, entry in memory.placed.items()}
    return json.dumps(state, indent=4).encode(), json.dumps(placed, indent=1, sort_keys=True).encode()


def remember(
    memory: Memory, before: Scene, scene: Scene, written: Iterable[Written], withdrawn: Iterable[str]
) -> Memory:
    """What is to be known once the document is applied: an original is kept once, by the outermost path placed."""
    saved = {path: place for path, place in memory.saved.items() if path not in set(withdrawn)}
    placed: dict[str, dict[str, tuple[str, ...]]] = {}
    for entry in sorted(written, key=lambda known: known.path.split("/")):
        path, there = entry.path, before.node(entry.path).kind
        owner = next((above for above in _upwards(path) if above in saved), None)
        if owner is None and there == DIRECTORY and entry.merged:
            continue
        if owner is None:
            owner, saved[path] = path, None if there == ABSENT else memory.home.original(path)
        if scene.node(path).kind != ABSENT:
            placed.setdefault(owner, {})[path] = (_print(scene, path, entry.block),)
    return Memory(memory.home, saved, placed)


def kept(before: Scene, memory: Memory, new: Memory, withdrawn: Iterable[str]) -> Scene:
    """Decisions to make before all others: originals are kept, and what is about to be placed is known."""
    scene = Scene(before.root)
    for path, place in new.saved.items():
        if place is None or path in memory.saved:
            continue
        where = scene.settle(place)
        if where in {scene.settle(new.home.state), scene.settle(new.home.placed)}:
            raise ApplyError(f"keeping the original of {path}: its place {place} is taken; choose another dest")
        make_home(scene, new.home)
        scene.remove(where)
        scene.make_parents(where)
        scene.graft(before, path, where)
    old = {path: memory.saved[path] for path in withdrawn}
    _write(scene, Memory(new.home, {**old, **new.saved}, _either(memory.placed, new.placed)), *new.home.both)
    return scene


def _either(old: Mapping[str, Prints], new: Mapping[str, Prints]) -> dict[str, Prints]:
    """What may be there by us while the new is taking the place of the old."""
    both: dict[str, Prints] = {}
    for top in {**old, **new}:
        before, after = old.get(top, {}), new.get(top, {})
        both[top] = {path: tuple({*before.get(path, ()), *after.get(path, ())}) for path in {**before, **after}}
    return both


def forgotten(before: Scene, memory: Memory, new: Memory, left: Collection[str]) -> tuple[Scene, Scene]:
    """Decisions to make after all others, in two steps: originals that are back in their place need not be kept.

    What is placed is forgotten after `state` no longer lists it: listed, but not known, it would be Kolla's.
    """
    state, rest = Scene(before.root), Scene(before.root)
    gone = [path for path in memory.saved if path not in new.saved]
    if gone or _either(memory.placed, new.placed) != new.placed:
        _write(state, new, new.home.state)
        _write(rest, new, new.home.placed)
    needed = [place for place in new.saved.values() if place]
    for path in gone:
        place = memory.saved[path]
        if place and path not in left and not any(_overlap(place, other) for other in needed):
            rest.remove(rest.settle(place))
    return state, rest


def withdraw(scene: Scene, memory: Memory, path: str) -> list[str]:
    """Decide that what was there before the document is there again; returns what is left as somebody changed it."""
    saved = memory.saved[path] and scene.settle(memory.saved[path] or "")
    if path not in memory.placed:  # Kolla's own tool has placed it, and does not tell what
        if saved is None and scene.node(path).kind == DIRECTORY:
            return [path]
        scene.remove(path)
    prints = memory.placed.get(path, {})
    if any(blocks.is_print(known) for known in prints.get(path, ())):
        return _withdraw_block(scene, prints[path], path, saved)
    left = _clear(scene, prints, path, saved)
    if saved is not None and scene.node(saved).kind != ABSENT:
        _restore(scene, saved, path, left)
    return left


def _withdraw_block(scene: Scene, prints: Collection[str], path: str, saved: str | None) -> list[str]:
    """Take our block out of a file; what others wrote around it stays."""
    if scene.node(path).kind != FILE:
        return []
    found = blocks.without(scene.content(path), prints)
    if found is None:
        return [path]
    was = scene.content(saved) if saved is not None else b""
    if found.rstrip(b"\n") != was.rstrip(b"\n"):
        scene.put(path, replace(scene.node(path), content=found, mtime_ns=None))
    elif saved is None:
        scene.remove(path)
    else:
        scene.put(path, replace(scene.node(saved), content=was, mtime_ns=None))
    return []


def _clear(scene: Scene, placed: Prints, top: str, saved: str | None) -> list[str]:
    """Take away what is still as we left it, or as it was before us, and directories that are empty then."""
    left = []
    for inner in sorted(placed, reverse=True):
        node = scene.node(inner)
        if node.kind == ABSENT:
            scene.remove(inner)  # decided all the same: a run that was killed may have left something beside it
            continue
        if node.kind == DIRECTORY and DIRECTORY in placed[inner]:
            if not scene.names(inner):
                scene.remove(inner)
            continue
        known = _print(scene, inner)
        if known in placed[inner] or (saved is not None and known == _print(scene, saved + inner[len(top) :])):
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


def _print(scene: Scene, path: str, block: str = "") -> str:
    node = scene.node(path)
    if node.kind == FILE and block:
        return blocks.print_of(scene.content(path), block)
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
