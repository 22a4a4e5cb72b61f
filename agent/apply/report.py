"""What the placer did or would do, as a table, as JSON and as a difference."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agent.apply import place
from agent.apply.place import Change
from agent.model import JsonMap

READ_LIMIT = 1 << 20


def table(changes: Iterable[Change]) -> str:
    """One line for each path: the word, the path, and what differs."""
    return "".join(f"{c.word:<9}  {c.path}{_because(c)}\n" for c in changes)


def as_json(changes: Iterable[Change]) -> JsonMap:
    """Path -> word."""
    return {str(change.path): change.word for change in changes}


def diff(change: Change) -> str:
    """What applying would change, as a unified difference; content that not everybody may read is not shown."""
    if change.word == place.UNCHANGED:
        return ""
    lines = [f"{change.word} {change.path}{_because(change)}\n"]
    if "mode" in change.differs and change.seen.mode is not None:
        lines.append(f"mode {change.seen.mode:04o} -> {change.mode:04o}\n")
    if "owner" in change.differs:
        lines.append(f"owner {change.seen.uid}:{change.seen.gid} -> {change.owner[0]}:{change.owner[1]}\n")
    if change.word == place.CHANGED and change.differs and not {"content", "kind"} & set(change.differs):
        return "".join(lines)
    return "".join([*lines, *_content(change)])


def _because(change: Change) -> str:
    return f" ({', '.join(change.differs)})" if change.word == place.CHANGED else ""


def _content(change: Change) -> list[str]:
    if change.hidden:
        return ["(the content is not shown: not everybody may read it)\n"]
    old, new = _old(change), _new(change)
    if old is None or new is None:
        return ["(the content is not text, or too long to show)\n"]
    from difflib import unified_diff  # noqa: PLC0415 - 5 ms, for those who ask

    names = ("/dev/null" if change.word == place.CREATED else str(change.path), str(change.path))
    listed = unified_diff(old.splitlines(keepends=True), new.splitlines(keepends=True), *names)
    return [line if line.endswith("\n") else f"{line}\n\\ no newline at the end\n" for line in listed]


def _old(change: Change) -> str | None:
    if change.seen.kind == place.ABSENT:
        return ""
    if change.seen.kind == place.LINK:
        return f"-> {change.seen.text}\n"
    return _text(_head(change.path))


def _new(change: Change) -> str | None:
    if change.placement.link:
        return f"-> {change.placement.link}\n"
    content = change.placement.content
    return _text(_head(content) if isinstance(content, Path) else content or b"")


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(READ_LIMIT + 1)


def _text(data: bytes) -> str | None:
    if len(data) > READ_LIMIT or b"\0" in data:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None
