"""A fresh place for each run: a directory and the sides that live in it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.ours import Ours
from benchmarks.peers import Theirs
from benchmarks.server import Endpoint

Side = type[Ours] | type[Theirs]


@dataclass(frozen=True)
class Bench:
    """What a measurement is given: a temporary directory, the server, and whether to hurry."""

    directory: Path
    endpoint: Endpoint
    quick: bool
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def place(self) -> Path:
        path = self.directory / f"run{next(self._numbers)}"
        path.mkdir()
        return path

    def side(self, side: Side, *, local: bool = False) -> Ours | Theirs:
        """One of the two, with nothing done yet."""
        return side(self.place(), "" if local else f"{self.endpoint.url}/metadata")
