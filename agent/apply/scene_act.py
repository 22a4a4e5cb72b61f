"""From decisions to the guest: what differs, and making it so, all or nothing."""

from __future__ import annotations

import os
import posixpath
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from agent.apply import install
from agent.apply.place import Placement
from agent.apply.scene import ABSENT, DIRECTORY, FILE, LINK, OTHER, Node, Scene
from agent.errors import ApplyError


@dataclass(frozen=True, slots=True)
class Changes:
    """What is to be done, in this order; nothing of it when all is as decided."""

    away: tuple[Path, ...] = ()
    rights: tuple[tuple[Path, Node], ...] = ()
    directories: tuple[tuple[Path, Node], ...] = ()  # to be made, or to get other rights
    placements: tuple[Placement, ...] = ()
    times: tuple[tuple[Path, int], ...] = ()
    near: tuple[Path, ...] = ()  # directories in which a run that was killed may have left something

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path that changes, once, in order."""
        listed = [*self.away, *(path for path, _ in (*self.rights, *self.directories, *self.times))]
        return tuple(sorted({*listed, *(placement.path for placement in self.placements)}))


@dataclass(frozen=True, slots=True)
class Plan:
    """What applying a document does: originals are kept and the guest made so, all or nothing; then, step by step,
    what need not be kept is forgotten. A run that ends before that is finished by the next one.
    """

    make: tuple[Changes, ...]
    forget: tuple[Changes, ...]
    withdrawn: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[Path, ...]:
        """Every path that changes, in order; none exactly when applying changes nothing."""
        return tuple(sorted({path for step in (*self.make, *self.forget) for path in step.paths}))


def apply(plan: Plan) -> None:
    """Carry it out. Raises ApplyError when everything was put back, or when only the forgetting failed."""
    with ExitStack() as steps:
        for step in plan.make:
            steps.enter_context(acting(step))
    try:
        for step in plan.forget:
            with acting(step):
                pass
    except ApplyError as exc:
        why = exc.__cause__ or exc
        raise ApplyError(
            f"the files are in their place, but originals were not tidied away ({why}); run it again"
        ) from exc


def changes(scene: Scene) -> Changes:
    """What differs between the guest and what was decided about it."""
    away: list[Path] = []
    rights: list[tuple[Path, Node]] = []
    directories: list[tuple[Path, Node]] = []
    placements: list[Placement] = []
    times: list[tuple[Path, int]] = []
    for path in sorted(scene.decided, key=lambda known: known.split("/")):
        node, where = scene.decided[path], scene.place(path)
        gone = any(above in away for above in where.parents)
        seen = Node() if gone else scene.seen(path)
        if seen.kind != ABSENT and _in_the_way(node, seen):
            away.append(where)
            seen = Node()
        if node.kind == DIRECTORY:
            if seen.kind == ABSENT or _rights(node) != _rights(seen):
                directories.append((where, node))
            if node.fresh and seen.kind == DIRECTORY:
                away += [scene.place(inner) for inner in _undeclared(scene, path)]
        elif node.kind == LINK and (seen.kind, seen.target) != (LINK, node.target):
            placements.append(Placement(where, link=node.target))
        elif node.kind == FILE and node.content is not None:
            if _placed_anew(scene, path, node, seen):
                placements.append(
                    Placement(where, node.content, "", node.mode, node.uid, node.gid, validate=node.validate)
                )
                seen = Node()
            if node.mtime_ns not in {None, seen.mtime_ns}:
                times.append((where, node.mtime_ns or 0))
        elif node.kind in {FILE, OTHER} and _rights(node) != _rights(seen):
            rights.append((where, node))
    near = tuple(sorted({scene.place(path).parent for path in scene.decided}))
    return Changes(tuple(away), tuple(rights), tuple(directories), tuple(placements), tuple(times), near)


@contextmanager
def acting(due: Changes) -> Iterator[None]:
    """Make the changes; whatever fails, here or in the body, puts everything back."""
    install.sweep(due.near)
    with ExitStack() as held, ExitStack() as undo:  # undo is emptied at the end: it runs only when something fails
        aside = [_move_away(path, undo) for path in due.away]
        for path, node in due.rights:
            _set_rights(path, node, undo, held)
        for path, node in due.directories:
            _make_directory(path, undo)
            _set_rights(path, node, undo, held)
        with install.installing(due.placements), ExitStack() as undo_times:
            for path, mtime_ns in due.times:
                _set_time(path, mtime_ns, undo_times)
            yield
            undo_times.pop_all()
        undo.pop_all()
    for path in aside:
        install.quietly(partial(install.remove, path), path)


def _in_the_way(node: Node, seen: Node) -> bool:
    """Whether what is there must be gone first: the placer replaces files and links only by their like."""
    if node.kind in {FILE, LINK}:
        return seen.kind not in {FILE, LINK}
    return node.kind != seen.kind


def _undeclared(scene: Scene, path: str) -> list[str]:
    there = sorted(os.listdir(scene.place(path)))
    inner = [posixpath.join(path, name) for name in there]
    return [known for known in inner if known not in scene.decided]


def _placed_anew(scene: Scene, path: str, node: Node, seen: Node) -> bool:
    if seen.kind != FILE or _rights(node) != _rights(seen):
        return True
    return scene.place(path).read_bytes() != node.content


def _rights(node: Node) -> tuple[int, int, int]:
    return (node.mode, node.uid, node.gid)


def _move_away(path: Path, undo: ExitStack) -> Path:
    aside = install.beside(path)
    with _telling("moving away", path):
        path.rename(aside)
        undo.callback(install.quietly, partial(aside.rename, path), path)
        install.sync(path.parent)
    return aside


def _make_directory(path: Path, undo: ExitStack) -> None:
    with _telling("making the directory", path):
        if path.is_dir():
            return
        path.mkdir(0o700)
        undo.callback(install.quietly, path.rmdir, path)
        install.sync(path.parent)


def _set_rights(path: Path, node: Node, undo: ExitStack, held: ExitStack) -> None:
    """Owner and mode of the very thing that is at the path, never through a link, and never wider on the way."""
    with _telling("setting owner and mode of", path):
        fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        held.callback(os.close, fd)  # undoing needs it, too
        found = os.fstat(fd)
        if stat.S_ISLNK(found.st_mode):
            raise ApplyError(f"setting owner and mode of {path}: a link has come there; look who makes it")
        before = (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode))
        undo.callback(install.quietly, partial(_turn, fd, *before), path)
        _turn(fd, node.uid, node.gid, node.mode)


def _turn(fd: int, uid: int, gid: int, mode: int) -> None:
    """Through /proc, as a descriptor that was opened for nothing (a device, a socket) takes no fchmod."""
    here, found = f"/proc/self/fd/{fd}", os.fstat(fd)
    if (uid, gid) != (found.st_uid, found.st_gid):
        if stat.S_IMODE(found.st_mode) & ~mode:
            os.chmod(here, stat.S_IMODE(found.st_mode) & mode)  # noqa: PTH101 - a descriptor, not a path
        os.chown(here, uid, gid)
    if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
        os.chmod(here, mode)  # noqa: PTH101 - as above


def _set_time(path: Path, mtime_ns: int, undo: ExitStack) -> None:
    with _telling("setting the time of", path):
        found = path.lstat()
        before = (found.st_atime_ns, found.st_mtime_ns)
        undo.callback(install.quietly, partial(os.utime, path, ns=before, follow_symlinks=False), path)
        os.utime(path, ns=(found.st_atime_ns, mtime_ns), follow_symlinks=False)


@contextmanager
def _telling(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ApplyError(f"{doing} {path}: {exc.strerror}; everything was put back") from exc
