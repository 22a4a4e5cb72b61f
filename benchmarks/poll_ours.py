"""Poll one source of a guest of ours: `poll_ours.py ROOT SOURCE NUMBER`, in step with benchmarks.cloud."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from agent import log
from agent.journal import Journal
from agent.metadata import Metadata, places
from agent.settings import Given


def main() -> None:
    root, source, number = sys.argv[1:]
    log.set_level("error")
    metadata = Metadata(Given(Path(root)), time.time)
    Journal(places(metadata.settings)).open()  # makes the directories
    answers = metadata.collect()  # cloud-init's file, and what it configures
    if answers[source].fault:
        sys.exit(f"{source}: {answers[source].fault}")
    metadata.collect({source})
    for word in ("ready", "done"):
        print(word, flush=True)
        if word == "ready":
            sys.stdin.readline()
            for _ in range(int(number)):
                metadata.collect({source})


if __name__ == "__main__":
    main()
