"""Users and groups of the guest: the system's own for `/`, else those of its passwd and group files."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agent.apply.scene import FILE, Scene
from agent.errors import ApplyError


class UnknownAccount(ApplyError):
    """A name that no user or group here has."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Names or numbers, as a document spells them; `where` is its key, for messages."""

    user: str
    group: str
    where: str = ""


Ids: TypeAlias = Callable[[Owner], tuple[int, int]]


def ids(scene: Scene) -> Ids:
    """Numbers for an owner; raises UnknownAccount for a name that nobody has."""
    if scene.root == Path("/"):
        return lambda owner: (_number(owner.user, _uid, owner, "user"), _number(owner.group, _gid, owner, "group"))
    users, groups = _table(scene, "/etc/passwd"), _table(scene, "/etc/group")
    return lambda owner: (
        _number(owner.user, users.get, owner, "user"),
        _number(owner.group, groups.get, owner, "group"),
    )


def _number(name: str, known: Callable[[str], int | None], owner: Owner, kind: str) -> int:
    found = known(name)
    if found is None and name.isascii() and name.isdecimal():
        return int(name)
    if found is None:
        raise UnknownAccount(f"{owner.where}: there is no {kind} {name} here")
    return found


def _uid(name: str) -> int | None:
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return None


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _table(scene: Scene, path: str) -> dict[str, int]:
    """Name -> number; the first of a name counts. {} when there is no such file."""
    where = scene.follow(path)
    if scene.node(where).kind != FILE:
        return {}
    found: dict[str, int] = {}
    for line in scene.content(where).decode("utf-8", "surrogateescape").splitlines():
        name, _, rest = line.partition(":")
        number = rest.split(":")[1] if rest.count(":") else ""
        if number.isdecimal():
            found.setdefault(name, int(number))
    return found
