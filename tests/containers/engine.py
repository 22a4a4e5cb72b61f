"""A real engine with all it keeps below one directory: podman by itself, and as what docker's command line talks to."""

import io
import json
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.waiting import LONGEST_S, until

IMAGE = "localhost/tiny:1"
APPLETS = ("sh", "cat", "echo", "env", "false", "ls", "sleep", "true")

# crun and systemd's cgroups fail in many a sandbox, and so do raised limits.
CONTAINERS_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
netns = "host"
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
stop_timeout = 1
exit_command_delay = 1
tmp_dir = "{directory}/tmp"
volume_path = "{directory}/volumes"
"""
STORAGE_CONF = """
[storage]
driver = "vfs"
graphroot = "{directory}/graph"
runroot = "{directory}/run"
"""


@dataclass(frozen=True)
class Engine:
    """An engine by its command line; `variables` make any program that inherits them use it."""

    command: str
    directory: Path
    variables: dict[str, str] = field(repr=False)

    def call(self, *arguments: str) -> str:
        """What one command prints; it must succeed."""
        return podman(self.directory, *arguments)

    def names(self, *filters: str) -> list[str]:
        """The names of all containers, running or not."""
        return sorted(self.call("ps", "-a", *filters, "--format", "{{.Names}}").split())

    def running(self) -> list[str]:
        return sorted(self.call("ps", "--format", "{{.Names}}").split())

    def labels(self, name: str) -> dict[str, str]:
        labels: dict[str, str] = json.loads(self.call("inspect", "--format", "{{json .Config.Labels}}", name))
        return labels


def own_variables(directory: Path) -> dict[str, str]:
    return {
        "CONTAINERS_CONF": str(directory / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(directory / "storage.conf"),
    }


def podman(directory: Path, *arguments: str, stdin: bytes = b"") -> str:
    done = subprocess.run(
        ["podman", *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(directory), **own_variables(directory)},
        input=stdin,
        capture_output=True,
        timeout=LONGEST_S,
    )
    if done.returncode:
        raise AssertionError(f"podman {' '.join(arguments)} ended with {done.returncode}: {done.stderr.decode()}")
    return done.stdout.decode()


@contextmanager
def engine(directory: Path) -> Iterator[Path]:
    """A directory that holds an engine with one small image, and its service on the socket `podman.sock`."""
    for name, text in (("containers.conf", CONTAINERS_CONF), ("storage.conf", STORAGE_CONF)):
        (directory / name).write_text(text.format(directory=directory))
    podman(directory, "import", "-", IMAGE, stdin=_image())
    with (directory / "service.log").open("wb") as log:
        service = subprocess.Popen(
            ["podman", "system", "service", "--time", "0", f"unix://{directory}/podman.sock"],
            env={"PATH": os.environ["PATH"], "HOME": str(directory), **own_variables(directory)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            start_new_session=True,
        )
    try:
        until((directory / "podman.sock").is_socket, "the engine's service to listen")
        yield directory
    finally:
        clear(directory)
        service.terminate()
        service.wait(LONGEST_S)
        shutil.rmtree(directory, ignore_errors=True)


def clear(directory: Path) -> None:
    podman(directory, "rm", "--all", "--force", "--time", "0")


def processes(directory: Path) -> list[str]:
    """The command lines of what was started for this engine, its containers' keepers too, its service aside."""
    wanted = f"CONTAINERS_CONF={directory}/containers.conf".encode()
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
            ours = wanted in (path / "environ").read_bytes().split(b"\0")
        except OSError:  # gone
            continue
        kept = "conmon" in words[0] and any(str(directory) in word for word in words)
        if kept or (ours and "service" not in words and any(words)):
            found.append(" ".join(words)[:120])
    return found


def _image() -> bytes:
    """An archive of busybox and a few of its names."""
    busybox = shutil.which("busybox")
    assert busybox
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(os.path.realpath(busybox), "bin/busybox")
        for name in APPLETS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(link)
        for name in ("tmp", "data"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
    return buffer.getvalue()
