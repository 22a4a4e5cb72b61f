"""A guest below a directory, and the old names as links to this program."""

import json
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.conftest import install
from tests.waiting import LONGEST_S

CONFIG_FILES = "var/lib/kolla/config_files"
OWNER = f"{os.getuid()}:{os.getgid()}"
Door = Callable[..., "subprocess.CompletedProcess[str]"]


def lay(root: Path, document: object = None, **files: str) -> Path:
    """A guest with accounts, source files by name, and the document."""
    (root / "etc").mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text(f"me:x:{os.getuid()}:{os.getgid()}::/:/bin/sh\nroot:x:0:0::/:/bin/sh\n")
    (root / "etc/group").write_text(f"me:x:{os.getgid()}:\nroot:x:0:\n")
    for name, text in files.items():
        path = root / CONFIG_FILES / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if document is not None:
        path = root / CONFIG_FILES / "config.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document))
    return root


def entry(source: str, dest: str, **more: object) -> dict[str, object]:
    """An entry of `config_files`; the source is a name below Kolla's directory."""
    return {"source": f"/{CONFIG_FILES}/{source}", "dest": dest, "owner": "me", "perm": "0600", **more}


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below `root` but what Kolla mounts: kind, mode, owner, content, and the times of files."""
    found: dict[str, tuple[object, ...]] = {}
    for path in sorted(root.rglob("*")):
        name, at = str(path.relative_to(root)), path.lstat()
        if name.startswith(CONFIG_FILES):
            continue
        content: object = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else None
        times = () if path.is_dir() and not path.is_symlink() else (at.st_ino, at.st_mtime_ns, at.st_ctime_ns)
        found[name] = (at.st_mode, at.st_uid, at.st_gid, content, *times)
    return found


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("doors")
    install(directory, "kolla_set_configs", "kolla_start")
    return directory


@pytest.fixture
def door(doors: Path, tmp_path: Path) -> Door:
    """Call a door by name on the guest at `tmp_path/root`, in a bare environment."""

    def call(
        name: str, *arguments: object, around: Iterable[str] = (), **variables: object
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*around, doors / name, "--root", tmp_path / "root", *map(str, arguments)],
            env={"PATH": os.defpath, "LC_ALL": "C", **{key: str(value) for key, value in variables.items()}},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

    return call


@pytest.fixture
def always(door: Door) -> Door:
    """`kolla_set_configs` with COPY_ALWAYS."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return door("kolla_set_configs", *arguments, KOLLA_CONFIG_STRATEGY="COPY_ALWAYS")

    return call
