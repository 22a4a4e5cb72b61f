"""A run that finds nothing new: the CPU of the whole tree, with a local source and over HTTP."""

from __future__ import annotations

import json

from benchmarks import cost, metadata
from benchmarks.ours import Ours
from benchmarks.peers import Theirs
from benchmarks.scratch import Bench, Side
from benchmarks.table import Row

TARGETS_MS = {"local": 80, "HTTP": 160}


def measure(bench: Bench) -> list[Row]:
    repeats = 5 if bench.quick else 15
    rows = []
    for source, target in TARGETS_MS.items():
        local = source == "local"
        document = metadata.document(1, bench.endpoint.url)
        bench.endpoint.serve(document)
        programs = {side: _settled(bench.side(side, local=local), document) for side in (Ours, Theirs)}
        spent: dict[Side, list[cost.Cost]] = {side: [] for side in programs}
        for _ in range(repeats):  # alternating, so that a busy minute of the machine hits both
            for side, program in programs.items():
                spent[side].append(cost.run(program, timeout_s=60))
        for what in ("cpu_s", "wall_s"):
            we, they = (min(getattr(one, what) for one in spent[side]) * 1000 for side in (Ours, Theirs))
            name = f"nothing to do, {source} source, {'CPU' if what == 'cpu_s' else 'wall time'}"
            wanted = f"{target} ms" if what == "cpu_s" else ""
            rows.append(Row(name, f"{we:.0f} ms", f"{they:.0f} ms", they / we, wanted))
    return rows


def _settled(side: Ours | Theirs, document: dict[str, object]) -> cost.Command:
    """A side that has done its one deployment."""
    side.local_file.parent.mkdir(parents=True, exist_ok=True)
    side.local_file.write_text(json.dumps(document))  # looked at only without a URL
    command = side.once()
    for _ in range(2):
        cost.run(command, timeout_s=60)
    return command
