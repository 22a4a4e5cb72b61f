"""The one program PyPI does not have: a redis server, Zaqar's message store.

Not Swift, which Zaqar could use too: its answers then carry a `client_uuid`, on which python-zaqarclient
(and so Heat's own reading of ZAQAR_SIGNAL) dies after the message is already deleted.
"""

import os
import shutil
import subprocess
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.install import say
from tests.lab.model import HOST, Lab

APT_TIMEOUT_S = 300


def program() -> str | None:
    """A program that is, or by another name would be, the redis server.

    Debian's redis-tools carries the server as `redis-check-rdb`: one binary that acts by the name it
    is called by. Unlike the package redis-server it enables no daemon.
    """
    return shutil.which("redis-server") or shutil.which("redis-check-rdb")


def ensure() -> str:
    """The program, fetched with apt-get when it is missing and we may."""
    if found := program():
        return found
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise LabError("there is no redis server here; as root: apt-get install redis-tools")
    say("installing the Debian package redis-tools, for the redis server in it")
    apt_get("update", "-q")
    apt_get("install", "-q", "-y", "--no-install-recommends", "redis-tools")
    if found := program():
        return found
    raise LabError("redis-tools is installed and brought no redis server; install redis-server by hand")


def apt_get(*words: str) -> None:
    environment = {"PATH": os.environ["PATH"], "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            ["apt-get", *words], env=environment, capture_output=True, text=True, timeout=APT_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as exc:
        raise LabError(f"apt-get {words[0]} took more than {APT_TIMEOUT_S} s; run it by hand") from exc
    if done.returncode:
        raise LabError(f"apt-get {words[0]} failed; run it by hand\n{done.stderr.strip()}")


def command(lab: Lab) -> list[str]:
    """The argv that serves this lab's messages."""
    link: Path = lab.run / "redis-server"
    link.unlink(missing_ok=True)
    link.symlink_to(ensure())
    address = ["--bind", HOST, "--port", str(lab.port("redis"))]
    storage = ["--dir", str(lab.data), "--save", "", "--appendonly", "yes", "--appendfsync", "no"]
    return [str(link), *address, *storage, "--daemonize", "no"]
