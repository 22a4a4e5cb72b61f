"""Things that are made once: directories in the cache whose names change with what they are made of."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
KEPT = 6  # of one kind, by last use
SOURCES = ("agent", "systemd", "pyproject.toml", "README.md", "LICENSE")


def home() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "os-deploy-agent"


def digest(*parts: str | bytes) -> str:
    """A name for what is made of these parts."""
    hashed = (hashlib.sha256(part.encode() if isinstance(part, str) else part).digest() for part in parts)
    return hashlib.sha256(b"".join(hashed)).hexdigest()[:16]


def files(names: Iterable[str] = SOURCES) -> list[Path]:
    """The files below these names of the checkout that are part of what is shipped."""
    found: list[Path] = []
    for name in names:
        path = CHECKOUT / name
        found += [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    return [path for path in found if "__pycache__" not in path.parts]


def content(names: Iterable[str] = SOURCES) -> str:
    """A digest of those files: names, modes and bytes."""
    parts: list[str | bytes] = []
    for path in files(names):
        parts += [f"{path.relative_to(CHECKOUT)} {path.stat().st_mode:o}", path.read_bytes()]
    return digest(*parts)


def once(name: str, make: Callable[[Path], None]) -> Path:
    """The directory of this name, filled by `make` unless it is there; half of one is never taken for the whole."""
    target = home() / name
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the holder's own steps are bounded
        if not target.is_dir():
            half = target.with_name(f"{name}.half")
            shutil.rmtree(half, ignore_errors=True)
            half.mkdir()
            make(half)
            half.rename(target)
            _forget_old(target.parent, name.partition("-")[0])
        os.utime(target)
    return target


def _forget_old(directory: Path, kind: str) -> None:
    """Keep the newest of a kind: each change of the agent makes another, and an image is 300 MiB."""
    made = [path for path in directory.glob(f"{kind}-*") if path.is_dir() and path.suffix != ".half"]
    for path in sorted(made, key=lambda path: path.stat().st_mtime)[:-KEPT]:
        shutil.rmtree(path, ignore_errors=True)  # whoever else forgets it just now helps
        path.with_name(f"{path.name}.lock").unlink(missing_ok=True)
