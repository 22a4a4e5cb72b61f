"""Configuration files as maps: section -> key -> value."""

from collections.abc import Mapping
from pathlib import Path

Sections = Mapping[str, Mapping[str, object]]


def write(path: Path, sections: Sections) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(block(name, pairs) for name, pairs in sections.items()))


def block(name: str, pairs: Mapping[str, object]) -> str:
    lines = [f"{key} = {spelled(value)}" for key, value in pairs.items()]
    return "\n".join([f"[{name}]", *lines, ""])


def spelled(value: object) -> str:
    """oslo.config and Swift read `true` and `false`; Python writes them with capitals."""
    return str(value).lower() if isinstance(value, bool) else str(value)
