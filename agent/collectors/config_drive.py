"""The config drive: the same tree as the metadata service's, on a small disk labelled config-2 that Nova attaches.

Read where it is mounted already, else mounted read-only in a place of our own for as long as reading takes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from agent import documents, jsontext, log, parse, process
from agent.errors import Unavailable
from agent.identity import Tokens
from agent.model import Document
from agent.settings import Settings
from agent.transport import Client

MOUNTS = True  # so that nobody asks who is only to look
LABEL = "config-2"
FILE = "ec2/latest/meta-data.json"
_TYPES = ("vfat", "iso9660")
_TOOL_S = 20.0
_PATH = process.DEFAULT_PATH


def configured(_settings: Settings) -> bool:
    return True


def collect(
    settings: Settings, _client: Client, _tokens: Tokens, _previous: tuple[Document, ...]
) -> tuple[Document, ...]:
    device = find(settings)
    if not device:
        raise Unavailable(f"looking for a config drive: no {' or '.join(_TYPES)} file system is labelled {LABEL}")
    with _mounted(device, settings) as directory:
        data = documents.read(directory / FILE, settings.max_document)
    return (parse.document("config_drive", jsontext.decode_map(data, f"{FILE} of {device}")),)


def find(settings: Settings) -> str:
    """The device of the drive, "" when there is none."""
    for label in (LABEL, LABEL.upper()):  # a FAT may hold upper case only
        link = settings.path(f"/dev/disk/by-label/{label}")
        if link.exists():  # udev knows, which saves a look at each disk
            return str(link.resolve())
    try:
        # not what it remembers of the disk that was there before
        listed = process.ask([_tool("blkid"), "-o", "export", "-c", "/dev/null"], timeout_s=_TOOL_S, fine=(0, 2))
    except OSError as exc:
        log.debug("disks not listed", reason=str(exc))
        return ""
    for block in listed.split("\n\n"):
        known = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if known.get("LABEL", "").strip("'\"").lower() == LABEL and known.get("TYPE", "").strip("'\"") in _TYPES:
            return known.get("DEVNAME", "").strip("'\"")
    return ""


@contextmanager
def _mounted(device: str, settings: Settings) -> Iterator[Path]:
    """Where the drive's files are."""
    present = _mountpoint(device, settings)
    if present:
        yield present
        return
    directory = tempfile.mkdtemp(prefix=f"{LABEL}-")
    try:
        process.ask([_tool("mount"), device, directory, "-o", "ro"], timeout_s=_TOOL_S)
        try:
            yield Path(directory)
        finally:
            process.ask([_tool("umount"), "-l", directory], timeout_s=_TOOL_S)
    except OSError as exc:
        raise Unavailable(f"mounting the config drive {device}: {exc}") from exc
    finally:
        with suppress(OSError):  # still mounted: the next boot clears it
            os.rmdir(directory)  # noqa: PTH106 - never what is in it


def _mountpoint(device: str, settings: Settings) -> Path | None:
    try:
        lines = settings.path("/proc/mounts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return None
    for line in lines:
        source, _, rest = line.partition(" ")
        if source and os.path.realpath(source) == os.path.realpath(device):
            return Path(_unescaped(rest.partition(" ")[0]))
    return None


def _unescaped(text: str) -> str:
    """/proc/mounts writes blanks as octal numbers."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _tool(name: str) -> str:
    return shutil.which(name, path=os.environ.get("PATH") or _PATH) or shutil.which(name, path=_PATH) or name
