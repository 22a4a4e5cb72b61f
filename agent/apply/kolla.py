"""Kolla's document applied: decide everything about the guest first, then make it so, all or nothing."""

from __future__ import annotations

import os
import posixpath
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

from agent.apply import accounts, kolla_document, originals
from agent.apply.accounts import Ids, Owner, UnknownAccount
from agent.apply.kolla_document import Copy, Declared, Document, InvalidConfig, MissingRequiredSource, Permission
from agent.apply.originals import Home, Memory, Written
from agent.apply.scene import ABSENT, DIRECTORY, FILE, LINK, Node, Scene, directory_mode
from agent.apply.scene_act import Plan, changes
from agent.errors import ApplyError

CONFIG_FILES = "/var/lib/kolla/config_files"
COMMAND = "/run_command"
CONFIGURED = "/configured"
HOME = Home("/etc/kolla/defaults")


def read(root: Path) -> Document:
    """The document where Kolla mounts it, YAML before JSON. No variable names another: root obeys this file."""
    scene = Scene(root)
    listed = [f"{CONFIG_FILES}/config.yaml", f"{CONFIG_FILES}/config.json"]
    name = next((path for path in listed if scene.node(scene.follow(path)).kind != ABSENT), listed[-1])
    try:
        data = scene.place(scene.follow(name)).read_bytes()
    except OSError as exc:
        raise InvalidConfig(f"reading {name}: {exc.strerror}") from exc
    return kolla_document.parse(data, name)


def applied(root: Path) -> bool:
    """Whether any document was ever applied here."""
    return Scene(root).seen(COMMAND).kind == FILE


def configured(root: Path) -> bool:
    """Whether COPY_ONCE has done its work."""
    return Scene(root).seen(CONFIGURED).kind != ABSENT


def plan(document: Document, root: Path, *, once: bool = False) -> Plan:
    """What is to be done; changes nothing. Raises ApplyError for what cannot be done at all."""
    scene = Scene(root)
    owned = _owners(scene)
    declared = [(entry, owned(entry.owner)) for entry in document.directories]
    empty = [(entry, owned(entry.owner)) for entry in document.files]
    copies = [(c, None if c.preserve or not c.owner else owned(c.owner)) for c in document.copies]
    permissions = [(entry, owned(entry.owner) if entry.owner else None) for entry in document.permissions]
    memory = originals.read(scene, HOME)
    warnings = [f"{section} is no section of a document; it is ignored" for section in document.unknown]

    trial = scene.copy()
    _declare(trial, declared, empty)
    withdrawn = _withdrawn(trial, memory, copies, declared)
    kept: set[str] = set()
    for path in withdrawn:
        left = originals.withdraw(scene, memory, path)
        kept |= {path} if left else set()
        warnings += [f"{inner} stays as it is: somebody changed it after it was placed" for inner in left]
    warnings += _declare(scene, declared, empty)  # also what was just withdrawn as a copy
    before = scene.copy()
    written = _copy_all(scene, copies, declared, frozenset(memory.saved))
    new = originals.remember(memory, before, scene, written, withdrawn)
    if new.saved:
        originals.make_home(scene, HOME)  # permissions may concern what is above it
    _put_file(scene, COMMAND, document.command.encode(), 0o644)
    for permission, rights in permissions:
        warnings += _permit(scene, permission, rights)
    keep, forget = originals.kept(before, memory, new, withdrawn), originals.forgotten(before, memory, new, kept)
    if once:
        _put_file(forget[-1], CONFIGURED, b"", 0o600)
    return Plan((changes(keep), changes(scene)), tuple(map(changes, forget)), withdrawn, tuple(warnings))


def _owners(scene: Scene) -> Ids:
    """Numbers for an owner; raises InvalidConfig for a name that nobody has."""
    known = accounts.ids(scene)

    def numbers(owner: Owner) -> tuple[int, int]:
        try:
            return known(owner)
        except UnknownAccount as exc:
            raise InvalidConfig(str(exc)) from exc

    return numbers


# ------------------------------------------------------------------------------------------------ sections

Made: TypeAlias = "tuple[Declared, tuple[int, int]]"


def _declare(scene: Scene, directories: Iterable[Made], files: Iterable[Made]) -> list[str]:
    """Make what is declared; returns what to warn of."""
    warnings = []
    for entry, owner in directories:
        warnings += _declare_directory(scene, entry, owner)
    for entry, owner in files:
        _declare_file(scene, entry, owner)
    return warnings


def _declare_directory(scene: Scene, directory: Declared, owner: tuple[int, int]) -> list[str]:
    path = scene.settle(directory.path)
    kind = scene.node(path).kind
    if kind == LINK and scene.node(scene.follow(path)).kind == DIRECTORY:
        return [f"{directory.path} is a link to a directory; owner and mode are set through none"]
    scene.make_parents(path)
    if kind not in {ABSENT, DIRECTORY}:
        raise ApplyError(f"making the directory {path}: a {kind} is there; move it away")
    scene.put(path, Node(DIRECTORY, directory_mode(directory.mode), *owner))
    return []


def _declare_file(scene: Scene, file: Declared, owner: tuple[int, int]) -> None:
    path = scene.settle(file.path)
    kind = scene.node(path).kind
    if kind == ABSENT:
        if scene.node(posixpath.dirname(path)).kind != DIRECTORY:
            raise ApplyError(f"making the file {path}: its directory is missing; declare it")
        scene.put(path, Node(FILE, file.mode, *owner, content=b""))
        return
    if kind != FILE:
        raise ApplyError(f"making the file {path}: a {kind} is there; move it away")
    scene.set_rights(path, file.mode, owner)


def _permit(scene: Scene, permission: Permission, owner: tuple[int, int] | None) -> list[str]:
    """Owner and mode of what matches, links left alone; returns what to warn of."""
    warnings = []
    kept = scene.settle(HOME.state).rpartition("/")[0]
    for top in scene.glob(permission.path):
        path = scene.settle(top)
        if f"{path}/".startswith(f"{kept}/"):
            continue
        if scene.node(path).kind == LINK:
            warnings.append(f"{top} is a link; owner and mode are set through none")
            continue
        scene.set_rights(path, permission.mode, owner)
        if not permission.recurse or scene.node(path).kind != DIRECTORY:
            continue
        for inner in scene.below(path):
            spelled = posixpath.join(top, posixpath.relpath(inner, path))
            if scene.node(inner).kind == LINK or f"{inner}/".startswith(f"{kept}/"):
                continue
            if not any(spared.search(spelled) for spared in permission.exclude):
                scene.set_rights(inner, permission.mode, owner)
    return warnings


def _put_file(scene: Scene, path: str, content: bytes, mode: int) -> None:
    scene.put(path, Node(FILE, mode, os.geteuid(), os.getegid(), content=content))


# -------------------------------------------------------------------------------------------------- copies

Owned: TypeAlias = "tuple[Copy, tuple[int, int] | None]"


def _copy_all(scene: Scene, copies: Iterable[Owned], declared: Iterable[Made], ours: frozenset[str]) -> list[Written]:
    """Decide about every entry in order; what an entry places can be the source of a later one."""
    written: list[Written] = []
    settled = (scene.settle(directory.path) for directory, _ in declared)
    passed = {path for path in settled if scene.node(path).kind == LINK}  # links that others rely on
    for copy, owner in copies:
        for source, dest in _targets(scene, copy):
            if scene.settle(dest) in passed:
                raise InvalidConfig(f"{copy.where}: {dest} is a link that an earlier entry relies on; keep one of them")
            passed |= scene.links(dest)
            written += [Written(path, copy.merge) for path in _copy(scene, copy, source, dest, owner, ours)]
    return written


def _withdrawn(scene: Scene, memory: Memory, copies: list[Owned], declared: list[Made]) -> tuple[str, ...]:
    """The paths of earlier documents that this one does not place, as a trial shows."""
    trial = scene.copy()
    for path in memory.saved:
        trial.remove(path)
    written = _copy_all(trial, copies, declared, frozenset(memory.saved))
    tops = {trial.settle(dest) for copy, _ in copies for _, dest in _targets(trial, copy)}
    current = tops | {entry.path for entry in written}
    replaced = [entry.path for entry in written if not entry.merged and entry.path not in memory.saved]
    return tuple(
        path
        for path in sorted(memory.saved)
        if path not in current or any(path.startswith(f"{top}/") for top in replaced)
    )


def _targets(scene: Scene, copy: Copy) -> list[tuple[str, str]]:
    """Each source of an entry with its dest."""
    sources = [path for path in scene.glob(copy.source) if scene.node(scene.follow(path)).kind != ABSENT]
    if not sources and not copy.optional:
        raise MissingRequiredSource(f"{copy.where}: the source {copy.source} is not there")
    whole = [path for path in sources if scene.node(scene.follow(path)).kind == DIRECTORY]
    if len(sources) > 1 and not copy.into and not (copy.merge and whole == sources):
        raise InvalidConfig(f"{copy.where}: {len(sources)} sources for one dest; end dest with /")
    return [(path, posixpath.join(copy.dest, posixpath.basename(path)) if copy.into else copy.dest) for path in sources]


def _copy(
    scene: Scene, copy: Copy, source: str, dest: str, owner: tuple[int, int] | None, ours: frozenset[str]
) -> list[str]:
    """Decide about one source; returns every path that it decides about."""
    path, origin = scene.settle(dest), scene.follow(source)
    whole = scene.node(origin).kind == DIRECTORY
    if path in {"/", origin} or (whole and path.startswith(f"{origin}/")):
        raise InvalidConfig(f"{copy.where}: {dest} is the source, or lies in it")
    known = any(f"{path}/".startswith(f"{top}/") for top in ours)
    if not whole and scene.node(path).kind == DIRECTORY and not known:
        raise ApplyError(f"placing the file {dest}: a directory is there; move it away, or end dest with /")
    if whole and not copy.merge:
        scene.remove(path)
    scene.make_parents(path)
    return _merge(scene, copy, source, path, owner, ())


def _merge(
    scene: Scene, copy: Copy, source: str, path: str, owner: tuple[int, int] | None, above: tuple[str, ...]
) -> list[str]:
    """The source, whole, at the path; what only the path has stays. Returns what was decided about."""
    spelled, origin = scene.settle(source), scene.follow(source)
    node = scene.node(origin)
    if copy.merge and copy.preserve and scene.node(spelled).kind == LINK:
        scene.put(path, Node(LINK, target=scene.node(spelled).target))
        return [path]
    if node.kind != DIRECTORY:
        content = scene.content(origin)
        scene.put(path, _copied(copy, node, owner, content))
        return [path]
    if origin in above:
        raise InvalidConfig(f"{copy.where}: the links in {copy.source} lead in a circle")
    if scene.node(path).kind != DIRECTORY:
        scene.remove(path)
    written = [path]
    scene.put(path, _copied(copy, node, owner, None))
    for name in scene.names(origin):
        inner, target = posixpath.join(origin, name), posixpath.join(path, name)
        if scene.node(scene.follow(inner)).kind == ABSENT and not (copy.merge and copy.preserve):
            raise MissingRequiredSource(f"{copy.where}: {inner} is a link that leads nowhere")
        written += _merge(scene, copy, inner, target, owner, (*above, origin))
    return written


def _copied(copy: Copy, source: Node, owner: tuple[int, int] | None, content: bytes | None) -> Node:
    if copy.preserve or owner is None or copy.mode is None:
        mtime_ns = source.mtime_ns if source.kind == FILE else None
        return Node(source.kind, source.mode, source.uid, source.gid, content, mtime_ns=mtime_ns)
    mode = directory_mode(copy.mode) if source.kind == DIRECTORY else copy.mode
    return Node(source.kind, mode, *owner, content)
