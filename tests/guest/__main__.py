"""`python -m tests.guest install`: the root file system that the guest tests boot."""

import sys

from tests.guest import install


def main(argv: list[str]) -> int:
    if argv != ["install"]:
        print("usage: python -m tests.guest install", file=sys.stderr)
        return 64
    return install.ensure()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
