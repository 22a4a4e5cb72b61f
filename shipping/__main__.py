"""`python -m shipping`: see the package."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from shipping import container, deb, image, wheels
from shipping.image import CannotBuild, Plan


def main(argv: list[str]) -> int:
    arguments = parser().parse_args(argv)
    began = time.monotonic()
    try:
        made = arguments.make(arguments)
    except CannotBuild as exc:
        print(exc, file=sys.stderr)
        return 1
    print(made)
    print(f"after {time.monotonic() - began:.0f} s", file=sys.stderr)
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m shipping", description="Wheels, images and packages of the agent.")
    commands = top.add_subparsers(required=True, metavar="WHAT")
    command = commands.add_parser("wheels", help="a folder of wheels for pip without an index")
    command.add_argument("--python", default=wheels.PYTHON, help="Python of the machine (default: %(default)s)")
    command.set_defaults(make=lambda given: wheels.wheelhouse(given.python))
    command = commands.add_parser("image", help="an image by diskimage-builder")
    command.add_argument("--build", type=Path, default=Path(tempfile.gettempdir()) / "os-deploy-agent-image",
                         metavar="DIR", help="where it goes, outside the checkout (default: %(default)s)")  # fmt: skip
    command.add_argument("--formats", default="tar", help="as disk-image-create -t takes them (default: tar)")
    command.add_argument("--dry", action="store_true", help="tell what would be done, and do nothing")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of an element")
    command.add_argument("elements", nargs="*", metavar="ELEMENT", help=f"default: {' '.join(image.DEFAULT)}")
    command.set_defaults(make=_image)
    command = commands.add_parser("deb", help="a Debian package with everything in it")
    command.add_argument("--build", type=Path, metavar="DIR", help="copy it there (default: leave it in the cache)")
    command.add_argument("--python", default=wheels.PYTHON, help="Python of the machine (default: %(default)s)")
    command.set_defaults(make=_deb)
    command = commands.add_parser("container", help="an image of a container that holds the agent")
    command.add_argument("--engine", default="podman", help="podman or docker (default: %(default)s)")
    command.add_argument("--tag", default="localhost/os-deploy-agent", help="its name (default: %(default)s)")
    command.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="BASE, PACKAGES or EXTRAS")
    command.set_defaults(make=_container)
    return top


def _container(given: argparse.Namespace) -> str:
    arguments = dict(image.variables(given.set))
    return container.build(given.tag, engine=given.engine, environ=os.environ, arguments=arguments)


def _deb(given: argparse.Namespace) -> Path:
    made = deb.package(python=given.python)
    if not given.build:
        return made
    given.build.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(made, given.build))


def _image(given: argparse.Namespace) -> Path | str:
    elements = tuple(given.elements) or image.DEFAULT
    plan = Plan(given.build, elements, given.formats, image.variables(given.set))
    if given.dry:
        return image.render(plan)
    return image.build(plan)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
