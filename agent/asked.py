"""What an operator asks the agent to signal: a file each in its state directory, taken at its next look.

    asked/<key>.json      {"asked_at": …, "body": {…} or null}

Only the agent writes the journal, so `agent signal` asks, and the outcome goes the usual way: once its source has
answered, while that still lists the id, until it is taken. Asked once, it is queued once, also over a crash.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent import jsontext, log, model, state
from agent.errors import MetadataError
from agent.journal import Journal
from agent.model import Deployment, JsonMap
from agent.state import Places

_STORED = frozenset({model.FINISHED, model.SIGNALLED, model.REFUSED, model.SUPERSEDED})


def put(key: str, body: JsonMap | None, asked_at: float, places: Places) -> None:
    """Ask for the outcome `body` (the stored one when None) to be signalled. Durable on return."""
    state.make_directory(places.asked)
    state.write(places.asked / f"{key}.json", state.dump({"asked_at": asked_at, "body": body}))


def take(journal: Journal, listed: Mapping[str, Deployment]) -> None:
    """Queue what was asked for. The caller holds the lock of the state, and looks at the journal afterwards."""
    for path in sorted(journal.places.asked.glob("[!.]*.json")):
        key = path.stem
        try:
            asked = jsontext.decode_map(path.read_bytes(), str(path))
        except MetadataError as exc:
            state.move_aside(path, str(exc))
            continue
        except FileNotFoundError:  # taken back
            continue
        if jsontext.number(asked.get("asked_at")) > jsontext.number(journal.record(key).get("requeued_at")):
            _queue(key, asked, journal, listed.get(key))
        state.remove(path)


def _queue(key: str, asked: JsonMap, journal: Journal, deployment: Deployment | None) -> None:
    body = asked.get("body")
    progress = journal.refresh(key).progress
    stored = progress in _STORED
    if deployment is None or progress in (model.RUNNING, model.REBOOTING) or not (stored or isinstance(body, dict)):
        log.warning("signal by hand not taken", deployment=key, progress=progress, listed=deployment is not None)
        return
    if progress in (model.UNKNOWN, model.RECEIVED):  # never begun: the mark keeps its hook from running afterwards
        journal.begin(deployment)
    elif progress == model.FOREIGN:
        journal.received(deployment)
    if isinstance(body, dict):
        journal.finish(key, body)
    journal.requeue(key, jsontext.number(asked.get("asked_at")))
    log.warning("signalled by hand", deployment=key)
