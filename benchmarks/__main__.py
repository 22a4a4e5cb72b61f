"""`make bench`, or `.ci/python -m benchmarks [--quick] [NAME …]`."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import change, cloud, deployments, doors, hooks, idle, nothing, ours, output, peers, polls, table
from benchmarks.scratch import Bench
from benchmarks.server import endpoint

MEASUREMENTS = {
    "deployments": deployments.measure,
    "nothing": nothing.measure,
    "idle": idle.measure,
    "output": output.measure,
    "polls": polls.measure,
    "change": change.measure,
    "hooks": hooks.measure,
    "cloud": cloud.measure,
    "doors": doors.measure,
}
UNLESS_NAMED = ("cloud",)  # starts a real cloud and takes minutes


def main() -> None:
    parser = argparse.ArgumentParser(prog="benchmarks", description="The agent beside its peers, as ratios of one run.")
    parser.add_argument("--quick", action="store_true", help="fewer repeats, under a minute")
    parser.add_argument(
        "names", metavar="NAME", nargs="*", help=f"of {', '.join(MEASUREMENTS)} (default: all but cloud)"
    )
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in MEASUREMENTS]
    if unknown:
        parser.error(f"no measurement {unknown[0]!r}; there are {', '.join(MEASUREMENTS)}")
    ours.python()  # environments are made now, not while something is measured
    peers.unpacked()
    with tempfile.TemporaryDirectory(prefix="os-deploy-agent-bench-") as directory:
        usual = [name for name in MEASUREMENTS if name not in UNLESS_NAMED]
        measure(Path(directory), options.names or usual, quick=options.quick)


def measure(directory: Path, names: list[str], *, quick: bool) -> None:
    rows = []
    with endpoint(directory) as server:
        bench = Bench(directory, server, quick)
        for name in names:
            began = time.monotonic()
            print(f"measuring {name} …", end=" ", file=sys.stderr, flush=True)
            rows += MEASUREMENTS[name](bench)
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(f"\nPython {platform.python_version()}, {os.cpu_count()} CPUs\n")
    print(table.render(rows))


if __name__ == "__main__":
    main()
