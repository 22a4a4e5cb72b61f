# mypy: disable-error-code="import-not-found"
"""Poll as os-collect-config does: `poll_theirs.py FILE SOURCE NUMBER`, in step with benchmarks.cloud.

What its loop does between two pauses, under its own Python.
"""

import sys

from os_collect_config import collect
from oslo_config import cfg


def main() -> None:
    file, source, number = sys.argv[1:]
    collect.setup_conf()
    cfg.CONF(args=["--config-file", file], prog="os-collect-config")
    _, content = collect.collect_all([source])
    if source != "zaqar" and not content:
        sys.exit(f"{source} does not answer")
    for word in ("ready", "done"):
        print(word, flush=True)
        if word == "ready":
            sys.stdin.readline()
            for _ in range(int(number)):
                collect.collect_all([source])


if __name__ == "__main__":
    main()
