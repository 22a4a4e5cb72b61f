"""`agent replay FILE`: make the decisions of a support bundle again, here, and compare them with what they were."""

from __future__ import annotations

import argparse
import tarfile
from pathlib import Path

from agent import jsontext
from agent.errors import MetadataError, UsageError
from agent.model import Json, JsonMap
from agent.view import bundle, page, question


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="what agent report wrote")


def run(arguments: argparse.Namespace) -> int:
    """The exit status: 0 the same decisions, 1 others."""
    stored = _stored(arguments.file)
    asked, then = stored.get("question"), stored.get("answer")
    if not isinstance(asked, dict) or not isinstance(then, list):
        raise MetadataError(f"reading {arguments.file}: its replay.json holds no question and answer")
    now = question.from_json(asked).answer()
    for step in now:
        print(_line(step))
    if now == then:
        print(f"the same {len(now)} steps as there")
        return 0
    print("others than there:")
    for step in then:
        print(_line(step))
    return 1


def _stored(path: Path) -> JsonMap:
    """What the bundle keeps for this. Nothing is unpacked: one member is read, and no more of it than fits."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            for entry in archive:
                file = archive.extractfile(entry) if entry.name.endswith("/replay.json") and entry.isfile() else None
                if file and entry.size <= bundle.LIMIT:
                    return jsontext.decode_map(file.read(bundle.LIMIT), f"replay.json of {path}")
    except (OSError, EOFError, tarfile.TarError) as exc:
        raise UsageError(f"reading {path}: {exc}; name a file that agent report wrote") from exc
    raise UsageError(f"reading {path}: it has no replay.json; name a file that agent report wrote")


def _line(step: Json) -> str:
    kind, key, *_ = step if isinstance(step, list) and len(step) > 1 else (str(step), "")
    return f"{page.plain(str(kind)):<8}{page.plain(str(key))}"
