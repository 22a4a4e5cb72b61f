"""`agent report FILE`: a support bundle, redacted and of bounded size: what an operator sees, for somebody else."""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from agent import __version__, hooks, masking, refresh, state
from agent.cli import status as page_of_status
from agent.cli.main import given
from agent.documents import Glass
from agent.metadata import Metadata
from agent.model import Json
from agent.settings import Given
from agent.view import ahead, bundle, guest, page, status, timeline
from agent.view.guest import Guest, Known
from agent.view.question import Question


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="where to write it, for example report.tar.gz")


def run(arguments: argparse.Namespace) -> int:
    what = given(arguments)
    now = time.time()
    seen = guest.read(what.settings(), everything=True)
    metadata = Metadata(what, time.time, shelf=Glass(seen.documents))
    metadata.open()
    known = [secret for document in seen.documents for secret in masking.secrets(document.content)]
    known += [secret for k in seen.deployments for secret in masking.secrets(k.deployment.raw)]
    known += [*bundle.settings_secrets(metadata.settings)]
    scrub = bundle.Scrub(known)
    state.write(arguments.file.absolute(), bundle.pack(_files(what, seen, metadata, now), scrub, now))
    print(f"{arguments.file}: secrets are masked, and what people wrote is not in it; look at it before you send it")
    return 0


def _files(what: Given, seen: Guest, metadata: Metadata, now: float) -> Iterator[tuple[str, str]]:
    judged = status.judge(seen, now)
    question = _question(seen, metadata, now)
    yield "about.json", _dump({"version": __version__, "python": platform.python_version(), "at": now})
    yield "status.txt", "\n".join(page_of_status.text(judged, now, page.Ink(io.StringIO(), {})))
    yield "status.json", _dump(status.as_json(judged, now))
    yield "timeline.txt", "\n".join(timeline.text(timeline.chapters(seen, now), page.WIDTH, timeline.SIGNS))
    yield "settings.json", _dump(bundle.settings_shown(metadata.settings))
    yield "replay.json", _dump({"question": question.as_json(), "answer": question.answer()})
    newest = sorted(seen.deployments, key=lambda known: -max(known.came_at, known.began_at))
    for known in newest:
        yield f"deployments/{known.entry.key}.json", _dump(bundle.deployment(known, seen, now))
        yield from _log(known)


def _log(known: Known) -> Iterator[tuple[str, str]]:
    with suppress(OSError), known.log.open("rb") as file:  # it printed nothing
        file.seek(max(file.seek(0, os.SEEK_END) - 2 * bundle.FILE_LIMIT, 0))
        text = file.read(2 * bundle.FILE_LIMIT).decode("utf-8", "replace")
        yield f"logs/{known.entry.key}.txt", bundle.end(text, bundle.FILE_LIMIT)


def _question(seen: Guest, metadata: Metadata, now: float) -> Question:
    settings, listed = metadata.settings, metadata.deployments()
    return Question(
        deployments=listed,
        entries={d.key: guest.entry(d.key, seen.places) for d in listed},
        hooks=frozenset(d.group for d in listed if hooks.find(d.group, settings, os.environ)),
        phases=refresh.standing(settings, metadata.standing(), ahead.phases_record(seen)),
        now=now,
        grace_s=settings.hook_grace,
    )


def _dump(content: Json) -> str:
    return json.dumps(content, indent=1)
