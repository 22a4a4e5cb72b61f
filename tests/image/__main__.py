"""`python -m tests.image install`: what these tests stand on."""

import sys

from shipping.image import CannotBuild
from tests.image import install


def main(argv: list[str]) -> int:
    if argv not in (["install"], ["root"], ["measure"], ["qemu"]):
        print("usage: python -m tests.image {install|root|measure|qemu}", file=sys.stderr)
        return 64
    try:
        if argv == ["measure"]:
            from tests.image import measure

            return measure.main()
        if argv == ["qemu"]:
            from tests.image import disk

            return install.ensure() or disk.ensure()
        return install.ensure() if argv == ["install"] else install.say_root()
    except CannotBuild as exc:
        print(exc, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
