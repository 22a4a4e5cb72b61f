"""What the agent is at, posted for `agent status` and its kin: which sources answer, what is held.

A convenience that nothing depends on. It is posted when something other than the time has changed, so an idle agent
writes nothing, and it is not durable.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from agent import jsontext, state
from agent.errors import MetadataError
from agent.jsontext import number
from agent.state import Places

PHASES_RUN = "they run"


@dataclass(frozen=True, slots=True)
class Source:
    """How a source has been answering since `since`; `first_at` is its first good answer to this agent, 0 for none."""

    since: float
    fault: str = ""
    first_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Bulletin:
    """`held` says until when the agent waits for the hook of a deployment, by key. Times are seconds of the epoch.

    `certificates` says when those end that the agent has met: those of servers by address, its own by file.
    `phases` says why the phases of this guest let no deployment begin: "" when they do, or when there are none.
    """

    pid: int = 0
    command: str = ""
    started_at: float = 0.0
    sources: Mapping[str, Source] = field(default_factory=dict)
    held: Mapping[str, float] = field(default_factory=dict)
    phases: str = ""
    certificates: Mapping[str, float] = field(default_factory=dict)


class Board:
    """Where one agent posts its bulletin."""

    def __init__(self, places: Places, command: str, clock: Callable[[], float] = time.time) -> None:
        self._places = places
        self._clock = clock
        self._before = read(places).sources
        self._posted = Bulletin(os.getpid(), command, clock())

    def post(
        self,
        faults: Mapping[str, str],
        held: Mapping[str, float],
        phases: str = "",
        certificates: Mapping[str, float] | None = None,
    ) -> None:
        """`faults` has every source that was asked, with "" for those that answered."""
        sources = {name: self._source(name, fault) for name, fault in faults.items()}
        posted = self._posted
        new = Bulletin(
            posted.pid, posted.command, posted.started_at, sources, dict(held), phases, dict(certificates or {})
        )
        if new != posted or not posted.sources:
            state.post(self._places.bulletin, state.dump(asdict(new)))
            self._posted = new

    def _source(self, name: str, fault: str) -> Source:
        now = self._clock()
        known = self._posted.sources.get(name)
        before = known or self._before.get(name)
        since = before.since if before and bool(before.fault) is bool(fault) else now
        first_at = known.first_at if known and known.first_at else 0.0 if fault else now
        return Source(since, fault, first_at)


def read(places: Places) -> Bulletin:
    """The last bulletin; an empty one when there is none that can be read."""
    try:
        posted = jsontext.decode_map(places.bulletin.read_bytes(), str(places.bulletin))
    except (OSError, MetadataError):
        return Bulletin()
    sources, held, ends = posted.get("sources"), posted.get("held"), posted.get("certificates")
    return Bulletin(
        int(number(posted.get("pid"))),
        str(posted.get("command", "")),
        number(posted.get("started_at")),
        {
            name: Source(number(source.get("since")), str(source.get("fault", "")), number(source.get("first_at")))
            for name, source in (sources.items() if isinstance(sources, dict) else ())
            if isinstance(source, dict)
        },
        {key: number(until) for key, until in (held.items() if isinstance(held, dict) else ())},
        str(posted.get("phases", "")),
        {name: number(end) for name, end in (ends.items() if isinstance(ends, dict) else ())},
    )
