"""Hooks as a daemon runs them: a process that has the agent loaded, and forks one of its own for each deployment.

    python -m benchmarks.warm ROOT < deployments, one JSON object a line

For each it prints a line: when it began and when the process ended, on the monotonic clock, and the status. The
records before and after the hook are no part of this; `deployments` measures them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from agent import engine, parse, runner, tree
from agent.hooks import script
from agent.live import LiveLog
from agent.settings import Given, Settings

assert engine  # what a daemon has loaded when it starts a runner
assert script


def main(root: Path) -> None:
    settings = Given(root, {"collectors": "local"}).settings()
    tree.prctl()
    for line in sys.stdin:
        print(*run(json.loads(line), settings), flush=True)


def run(raw: dict[str, Any], settings: Settings) -> tuple[float, float, int]:
    deployment = parse.deployment(raw)
    began = time.monotonic()
    pid = os.fork()
    if pid == 0:
        status = 70
        try:
            runner.detach()
            live = LiveLog(settings.path(settings.log_dir) / f"{deployment.key}.log", settings.output_limit)
            outcome = runner.answer(deployment, settings, os.environ, live.write, told={})
            live.write(json.dumps(outcome.body()).encode())
            status = min(outcome.status, 255)
        finally:
            os._exit(status)
    _, status = os.waitpid(pid, 0)
    return began, time.monotonic(), os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
