"""The guest as it will be: what is there, under what was decided so far. Looks at the guest and never touches it.

Paths are those of the guest, below `root`; a link in them means what it would mean if `root` were `/`.
"""

from __future__ import annotations

import os
import posixpath
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path

from agent.errors import ApplyError

ABSENT, FILE, LINK, DIRECTORY, OTHER = "absent", "file", "link", "directory", "other"
LINKS = 40  # as many as the kernel follows
_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True, slots=True)
class Node:
    """What is or shall be at a path. Content None is the content that is there; mtime None is any."""

    kind: str = ABSENT
    mode: int = 0
    uid: int = 0
    gid: int = 0
    content: bytes | None = field(default=None, repr=False)
    target: str = ""
    mtime_ns: int | None = None
    fresh: bool = False  # a directory of which only what is declared shall be there
    validate: tuple[str, ...] = ()  # as that of a placement


def has_magic(path: str) -> bool:
    """Whether a path is a pattern for several."""
    return bool(_MAGIC.search(path))


def directory_mode(mode: int) -> int:
    """Directories can be entered by whoever may read them."""
    return mode | (mode & 0o444) >> 2


class Scene:
    """Decisions about paths, laid over what a look at the guest finds."""

    def __init__(self, root: Path, decided: dict[str, Node] | None = None) -> None:
        self.root = root
        self.decided: dict[str, Node] = {}
        self._children: dict[str, set[str]] = {}  # directory -> names below it that something was decided about
        for path, node in (decided or {}).items():
            self._decide(path, node)

    def copy(self) -> Scene:
        return Scene(self.root, self.decided)

    def place(self, path: str) -> Path:
        """Where a path, without links above its last name, is for the kernel."""
        return self.root / path.lstrip("/")

    def seen(self, path: str) -> Node:
        """What is at the path now, whatever was decided."""
        where = self.place(path)
        try:
            found = where.lstat()
            target = str(where.readlink()) if stat.S_ISLNK(found.st_mode) else ""
        except (FileNotFoundError, NotADirectoryError):
            return Node()
        except OSError as exc:
            raise ApplyError(f"looking at {path}: {exc.strerror}") from exc
        kinds = {stat.S_IFREG: FILE, stat.S_IFLNK: LINK, stat.S_IFDIR: DIRECTORY}
        kind = kinds.get(stat.S_IFMT(found.st_mode), OTHER)
        mode = stat.S_IMODE(found.st_mode)
        return Node(kind, mode, found.st_uid, found.st_gid, None, target, found.st_mtime_ns)

    def node(self, path: str) -> Node:
        """What will be at the path, which has no links above its last name."""
        if path in self.decided:
            return self.decided[path]
        return Node() if self._hidden(path) else self.seen(path)

    def names(self, path: str) -> list[str]:
        """What the directory will hold, in order."""
        found: set[str] = set()
        hidden = self._hidden(posixpath.join(path, "x"))
        if not hidden and self.seen(path).kind == DIRECTORY:
            try:
                found = set(os.listdir(self.place(path)))
            except OSError as exc:
                raise ApplyError(f"listing {path}: {exc.strerror}") from exc
        found |= self._children.get(path, set())
        return sorted(name for name in found if self.node(posixpath.join(path, name)).kind != ABSENT)

    def content(self, path: str) -> bytes:
        """What the regular file at the path will hold."""
        node = self.node(path)
        if node.kind != FILE:
            raise ApplyError(f"reading {path}: it is no regular file")
        if node.content is not None:
            return node.content
        try:
            return self.place(path).read_bytes()
        except OSError as exc:
            raise ApplyError(f"reading {path}: {exc.strerror}") from exc

    def settle(self, path: str) -> str:
        """The path with the links above its last name followed."""
        return self._walk(path, last=False)

    def follow(self, path: str) -> str:
        """The path with every link in it followed."""
        return self._walk(path, last=True)

    def links(self, path: str) -> set[str]:
        """The links that `settle` follows."""
        passed: set[str] = set()
        self._walk(path, last=False, passed=passed)
        return passed

    def glob(self, pattern: str) -> list[str]:
        """The paths that match, spelled as the pattern spells them, in order; a hidden name only by its dot."""
        found = ["/"]
        for part in pattern.strip("/").split("/"):
            if not part:
                continue
            if has_magic(part):
                found = [
                    posixpath.join(above, name)
                    for above in found
                    for name in self.names(self.follow(above))
                    if fnmatchcase(name, part) and (part[0] == "." or name[0] != ".")
                ]
            else:
                found = [posixpath.join(above, part) for above in found]
            found = [path for path in found if self.node(self.settle(path)).kind != ABSENT]
        return found

    def below(self, path: str) -> Iterator[str]:
        """Everything below a directory, links not followed, each directory before what it holds."""
        for name in self.names(path):
            inner = posixpath.join(path, name)
            yield inner
            if self.node(inner).kind == DIRECTORY:
                yield from self.below(inner)

    # -------------------------------------------------------------------------------------- decisions

    def put(self, path: str, node: Node) -> None:
        """Decide what will be at the path; what a directory holds that is there stays."""
        if node.kind != DIRECTORY and self.node(path).kind == DIRECTORY:
            self.remove(path)
        if node.kind == DIRECTORY:
            there = self.node(path)
            node = replace(node, fresh=there.fresh if there.kind == DIRECTORY else True)
        self._decide(path, node)

    def set_rights(self, path: str, mode: int | None, owner: tuple[int, int] | None) -> None:
        """Decide about mode and owner of what will be at the path, None for what they will be anyway."""
        node = self.node(path)
        uid, gid = owner or (node.uid, node.gid)
        wanted = node.mode if mode is None else directory_mode(mode) if node.kind == DIRECTORY else mode
        if (wanted, uid, gid) != (node.mode, node.uid, node.gid):
            mtime_ns = node.mtime_ns if path in self.decided else None
            self._decide(path, replace(node, mode=wanted, uid=uid, gid=gid, mtime_ns=mtime_ns))

    def remove(self, path: str) -> None:
        """Decide that nothing will be at the path, nor below it."""
        self._forget(path)
        self._decide(path, Node())

    def make_parents(self, path: str) -> None:
        """Decide that what is missing above the path is made, 0755 and ours."""
        above = posixpath.dirname(path)
        kind = self.node(above).kind
        if kind == ABSENT:
            self.make_parents(above)
            self.put(above, Node(DIRECTORY, 0o755, os.geteuid(), os.getegid()))
        elif kind != DIRECTORY:
            raise ApplyError(f"placing {path}: {above} is no directory; move it away")

    def graft(self, source: Scene, origin: str, path: str) -> None:
        """Decide that the path will be what `source` has at `origin`, content, rights and time."""
        node = source.node(origin)
        if node.kind == OTHER:
            raise ApplyError(f"keeping {origin}: it is neither a file, a link nor a directory; move it away")
        if node.kind == FILE:
            node = replace(node, content=source.content(origin))
        self.put(path, node if node.kind == FILE else replace(node, mtime_ns=None))
        if node.kind == DIRECTORY:
            for name in source.names(origin):
                self.graft(source, posixpath.join(origin, name), posixpath.join(path, name))

    def _decide(self, path: str, node: Node) -> None:
        self.decided[path] = node
        self._children.setdefault(posixpath.dirname(path), set()).add(posixpath.basename(path))

    def _forget(self, path: str) -> None:
        for name in self._children.pop(path, set()):
            inner = posixpath.join(path, name)
            self._forget(inner)
            self.decided.pop(inner, None)

    def _hidden(self, path: str) -> bool:
        """Whether a decision about a directory above hides what is there now."""
        while path != "/":
            path = posixpath.dirname(path)
            if path in self.decided:
                above = self.decided[path]
                return above.kind != DIRECTORY or above.fresh
        return False

    def _walk(self, path: str, *, last: bool, passed: set[str] | None = None) -> str:
        done, left, followed = "/", path.strip("/").split("/"), 0
        while left:
            part = left.pop(0)
            if part in {"", "."}:
                continue
            if part == "..":
                done = posixpath.dirname(done)
                continue
            candidate = posixpath.join(done, part)
            node = self.node(candidate) if left or last else Node()
            if node.kind != LINK:
                done = candidate
                continue
            followed += 1
            if followed > LINKS:
                raise ApplyError(f"looking at {path}: too many links")
            if passed is not None:
                passed.add(candidate)
            done = "/" if node.target.startswith("/") else done
            left = [*node.target.split("/"), *left]
        return done
