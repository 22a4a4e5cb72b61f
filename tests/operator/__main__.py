"""`python -m tests.operator install`: shells and the formatter of manual pages, from the distribution."""

import sys

from tests.operator import install


def main(argv: list[str]) -> int:
    if argv != ["install"]:
        print("usage: python -m tests.operator install", file=sys.stderr)
        return 64
    return install.ensure()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
