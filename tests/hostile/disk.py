"""The agent's own state after somebody on this machine has changed it: it is read, told of, and crashes nobody."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from agent import asked, bulletin, instance, state
from agent.cli import status as page_of_status
from agent.documents import Disk
from agent.journal import Journal
from agent.metadata import Metadata, places
from agent.settings import Given
from agent.view import bundle, find, guest, metrics, page, show, status, timeline
from tests.hostile.judge import Door
from tests.hostile.material import document
from tests.hostile.wire import DEPLOYMENT, KEYS, METADATA

NOW = 1_800_000_000.0
RECORD = {
    "state": "signalled",
    "id": "d1",
    "name": "web",
    "group": "script",
    "action": "CREATE",
    "source": "request",
    "transport": "CFN_SIGNAL",
    "stack": "s/1",
    "received_at": NOW,
    "signalled_at": NOW,
    "tries": 3,
    "next_try_at": NOW,
    "reason": "x",
    "attempt": 1,
    "reboots": 0,
    "left_at": NOW,
    "requeued_at": 0,
    "cleaned_at": 0,
}
DOCUMENT = {
    "source": "request",
    "name": "request",
    "digest": "0" * 64,
    "fetched_at": NOW,
    "validator": {"etag": "e"},
    "content": METADATA,
}
OUTCOME = {"deploy_status_code": 3, "deploy_stdout": "x\n", "deploy_stderr": "y\n", "o": {"a": 1}}
BULLETIN = {
    "pid": 5,
    "command": "agent run",
    "started_at": NOW,
    "sources": {"request": {"since": NOW, "fault": "x", "first_at": NOW}},
    "held": {"d1": NOW},
    "phases": "",
}
FILES = {
    "state/journal/d1.json": RECORD,
    "deployed/d1.json": DEPLOYMENT,
    "deployed/d1.notify.json": OUTCOME,
    "state/documents/request.json": DOCUMENT,
    "state/bulletin.json": BULLETIN,
    "state/asked/d1.json": {"asked_at": NOW, "body": OUTCOME},
    "state/instance.json": {"machine": "m", "cloud": "c", "former": {"/x": 5}},
    "state/running/d1.lock": {"pid": 5, "deployment": "d1", "started_at": NOW},
    "state/lock": {"pid": 5, "who": "agent run"},
    "state/phases.json": {"digest": "x", "at": NOW},
}
FLAGS = {"state_dir": "/state", "deployed_dir": "/deployed", "collectors": "request", "log_dir": "/log"}
WORDS = (*KEYS, *{key for content in FILES.values() for key in content})

one = st.sampled_from(sorted(FILES)).flatmap(lambda name: st.tuples(st.just(name), document([FILES[name]], WORDS)))
CHANGES = st.lists(one, min_size=1, max_size=3).map(dict)


def lay(changed: dict[str, bytes], root: Path) -> Given:
    for name, content in {**{n: json.dumps(c).encode() for n, c in FILES.items()}, **changed}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Given(root, FLAGS)


def shown(changed: dict[str, bytes], root: Path) -> None:
    """All that an operator looks at."""
    given = lay(changed, root)
    seen = guest.read(given.settings(), everything=True)
    judged = status.judge(seen, NOW)
    json.dumps(status.as_json(judged, NOW))
    said = list(page_of_status.text(judged, NOW, page.Ink(io.StringIO(), {})))
    said += list(timeline.text(timeline.chapters(seen, NOW), 80, timeline.SIGNS))
    metrics.text(judged).encode()
    for known in seen.deployments:
        said += list(show.text(show.facts(known, seen, NOW), known))
        json.dumps(bundle.deployment(known, seen, NOW))
        find.find(status.short(known), seen.deployments)
    "\n".join(said).encode()


def taken_over(changed: dict[str, bytes], root: Path) -> None:
    """What a starting agent reads, and the first look at what was asked by hand."""
    given = lay(changed, root)
    where = places(given.settings())
    instance.settle(given.settings(), where, may_wait=False)
    journal = Journal(where, lambda: NOW)
    journal.open()
    known: Any = Metadata(given, lambda: NOW, shelf=Disk(where))
    known.open()
    listed = {deployment.key: deployment for deployment in known.deployments()}
    asked.take(journal, listed)
    journal.rescan()
    journal.note_listed(frozenset(listed))
    journal.prune(older_than_s=1.0, at_most=1)
    bulletin.Board(where, "agent run").post({"request": ""}, {})
    state.holder_of(where.agent_lock)


DOORS = (Door("state shown", CHANGES, shown), Door("state taken over", CHANGES, taken_over))
