"""The metadata that os-apply-config reads: which files, one value by its key, and the types a value may be held to."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from agent import jsontext, merge
from agent.errors import ApplyError, MetadataError

if TYPE_CHECKING:  # the model is 10 ms of classes, which `os-apply-config --key` does without
    from agent.model import Document, Json, JsonMap

FALLBACK = (
    "/var/cache/heat-cfntools/last_metadata",
    "/var/lib/heat-cfntools/cfn-init-data",
    "/var/lib/cloud/data/cfn-init-data",
)
LIST_FILE = "/var/lib/os-collect-config/os_config_files.json"
OLD_LIST_FILE = "/var/run/os-collect-config/os_config_files.json"

TYPES = {
    "int": "^[0-9]+$",
    "default": "^[A-Za-z0-9_]*$",
    "netaddress": "^[A-Za-z0-9/.:-]*$",
    "netdevice": "^[A-Za-z0-9/.:-]*$",
    "dsn": (
        r"^[a-zA-Z0-9]+://"
        r"([a-zA-Z0-9+_-]+(:[^@]+)?)?"  # username[:password]
        r"(@?[a-zA-Z0-9/_.-]+)?"  # @host or file
        r"(/[a-zA-Z0-9_-]+)?"  # /dbname
        r"(\?[a-zA-Z0-9=_-]+)?$"  # ?variable=value
    ),
    # the old pattern's language, without its exponential time: a device takes all up to the next comma
    "swiftdevices": r"^r\d+z\d+-[A-Za-z0-9.-_]+:%PORT%/[^,]+(,r\d+z\d+-[A-Za-z0-9.-_]+:%PORT%/[^,]+)*,?$",
    "username": "^[A-Za-z0-9_-]+$",
    "raw": "",
}


def read(paths: Iterable[str]) -> JsonMap:
    """The files merged, later ones win; a missing one is passed over, and one that holds no object.

    Raises MetadataError naming the file that cannot be read or is not JSON.
    """
    merged: JsonMap = {}
    for path in paths:
        content = _content(path) if path else None
        if isinstance(content, dict):
            merged = merge.merge_maps(merged, content)
    return merged


def of_documents(documents: Iterable[Document], keys: Iterable[str], root: Path) -> JsonMap:
    """What `read` finds in the files that the phases make of these documents, above the fallback files of the guest."""
    from agent import cache  # noqa: PLC0415 - who reads files needs no cache

    merged = read(fallback(root))
    for item in cache.of_documents(documents, keys):
        if isinstance(item.content, dict):
            merged = merge.merge_maps(merged, item.content)
    return merged


def fallback(root: Path) -> tuple[str, ...]:
    """Files that are read below all other metadata."""
    return tuple(str(root / name.lstrip("/")) for name in FALLBACK)


def listed(path: str) -> list[str]:
    """The file names that a JSON list in a file gives, none when the file is not there."""
    if not Path(path).exists():
        return []
    content = _content(path)
    names = [name for name in content if isinstance(name, str)] if isinstance(content, list) else []
    if not isinstance(content, list) or len(names) != len(content):
        raise MetadataError(f"reading {path}: a JSON list of file names is wanted")
    return names


def below(metadata: JsonMap, subhash: str) -> JsonMap:
    """The object at a dotted path, in place of all metadata."""
    for part in subhash.split("."):
        found = metadata.get(part)
        if not isinstance(found, dict):
            raise ApplyError(f"key '{subhash}' does not correspond to a hash in the metadata file")
        metadata = found
    return metadata


def value(metadata: Json, key: str) -> Json:
    """The value at a dotted path, with list items by number; None when it is missing, or null."""
    for part in key.split("."):
        if isinstance(metadata, dict):
            metadata = metadata.get(part)
        elif isinstance(metadata, list):
            metadata = _item(metadata, part)
        else:
            return None
    return metadata


def spelled(found: Json, kind: str) -> str:
    """A value as `--key` prints it, once it is of the asked type. Raises ApplyError when it is not."""
    pattern = TYPES.get(kind)
    if pattern is None:
        raise ApplyError(f"requested validation of unknown type: {kind}; known are {', '.join(TYPES)}")
    if not re.match(pattern, str(found)):
        raise ApplyError(f"cannot interpret value as type {kind}")
    return json.dumps(found) if isinstance(found, (dict, list, bool)) else str(found)


def sources(environ: Mapping[str, str], list_file: str | None) -> tuple[list[str], str]:
    """The metadata files that environment and list file name, and a word of warning about where they were found."""
    if "OS_CONFIG_FILES" in environ:
        return environ["OS_CONFIG_FILES"].split(":"), ""
    usual = environ.get("OS_CONFIG_FILES_PATH", LIST_FILE)
    path = usual if list_file is None else list_file
    found = listed(path)
    if found or path != usual:
        return found, ""
    return listed(OLD_LIST_FILE), f"DEPRECATED: falling back to {OLD_LIST_FILE}"


def _item(values: list[Json], part: str) -> Json:
    try:
        return values[int(part)]
    except (IndexError, ValueError):
        return None


def _content(path: str) -> Json:
    """The JSON in a file; None when there is no such file, and for null."""
    try:
        data = Path(path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        raise MetadataError(f"could not open {path} for reading: {exc.strerror}") from exc
    return jsontext.decode(data, f"metadata file {path}")
