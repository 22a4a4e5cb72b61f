"""`python -m tests.containers install`: the engine and its tools, from the distribution."""

import sys

from tests.containers import install


def main(argv: list[str]) -> int:
    if argv != ["install"]:
        print("usage: python -m tests.containers install", file=sys.stderr)
        return 64
    return install.ensure()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
