"""`python -m tests.image install`: what these tests stand on."""

import sys

from shipping.image import CannotBuild
from tests.image import install


def main(argv: list[str]) -> int:
    if argv not in (["install"], ["root"], ["measure"]):
        print("usage: python -m tests.image {install|root|measure}", file=sys.stderr)
        return 64
    try:
        if argv == ["measure"]:
            from tests.image import measure

            return measure.main()
        return install.ensure() if argv == ["install"] else install.say_root()
    except CannotBuild as exc:
        print(exc, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
