"""Section files: fetched and rendered first, then placed all or nothing."""

from __future__ import annotations

import grp
import pwd
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

from agent.apply import cfn_parse, install
from agent.apply.cfn_model import Fetch, File
from agent.apply.cfn_programs import Tell
from agent.apply.place import UNCHANGED, Change, Placement, check
from agent.errors import ApplyError

SMALL = 16 << 20


def place(files: Iterable[File], fetch: Fetch, tell: Tell) -> frozenset[str]:
    """Make the files what they shall be; the paths, as the document spells them, of those that changed."""
    listed = tuple(files)
    with ExitStack() as fetched:
        placements = [_placement(file, fetch, fetched) for file in listed]
        changes = install.install(placements)
    for change in changes:
        tell(f"file {change.path} {change.word}")
    return frozenset(file.path for file, change in zip(listed, changes, strict=True) if change.word != UNCHANGED)


def foresee(files: Iterable[File]) -> tuple[Change, ...]:
    """What `place` would do with those whose content is in the document. Raises ApplyError where it would fail."""

    def refuse(url: str, _authentication: str) -> AbstractContextManager[Path]:
        raise ApplyError(f"fetching {url}: only a run does that")

    with ExitStack() as nothing:
        return check([_placement(file, refuse, nothing) for file in files if not file.source])


def _placement(file: File, fetch: Fetch, fetched: ExitStack) -> Placement:
    path = Path(file.path).absolute()
    content: bytes | Path | None = file.content
    if file.source:
        content = fetched.enter_context(fetch(file.source, file.authentication))
        try:
            content = content if file.context is None else cfn_parse.rendered(_small(content, path), file.context)
        except UnicodeError as exc:
            raise ApplyError(f"rendering {path}: what its source serves is not UTF-8") from exc
    assert content is not None
    if file.link:
        text = _small(content, path) if isinstance(content, Path) else content
        target = text.decode("utf-8", "surrogateescape").strip()
        if not target or "\0" in target:
            raise ApplyError(f"placing {path}: its source serves no target of a link")
        return Placement(path, None, link=target)
    return Placement(path, content, mode=file.mode, uid=_uid(file, path), gid=_gid(file, path))


def _small(source: Path, path: Path) -> bytes:
    """What is taken into memory: the text of a template, the target of a link."""
    if source.stat().st_size > SMALL:
        raise ApplyError(f"placing {path}: its source serves more than {SMALL >> 20} MiB, which is no template")
    return source.read_bytes()


def _uid(file: File, path: Path) -> int | None:
    if not file.owner or file.owner.isdecimal():
        return int(file.owner) if file.owner else None
    try:
        return pwd.getpwnam(file.owner).pw_uid
    except KeyError as exc:
        raise ApplyError(f"placing {path}: no user {file.owner} here; declare it in users") from exc


def _gid(file: File, path: Path) -> int | None:
    if not file.group or file.group.isdecimal():
        return int(file.group) if file.group else None
    try:
        return grp.getgrnam(file.group).gr_gid
    except KeyError as exc:
        raise ApplyError(f"placing {path}: no group {file.group} here; declare it in groups") from exc
