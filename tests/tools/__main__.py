"""`python -m tests.tools install`: the real tools that the hooks are tested with; quick when they are there."""

import argparse
import sys

from tests.conftest import IN_CI
from tests.tools import install


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.tools", description="the real tools behind the hooks")
    parser.add_argument("command", choices=["install"])
    parser.parse_args()
    missing = install.install()
    for name in missing:
        install.say(f"*** {name} COULD NOT BE INSTALLED: its tests are skipped, or fail where CI is set ***")
    return 1 if missing and IN_CI else 0


if __name__ == "__main__":
    sys.exit(main())
