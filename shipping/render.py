"""What diskimage-builder would take and do, without doing it. Runs in its environment:

python render.py ELEMENT...     (ELEMENTS_PATH and DIB_* as for disk-image-create)
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import diskimage_builder
from diskimage_builder.element_dependencies import get_elements

PHASES = (
    *("root.d", "extra-data.d", "pre-install.d", "install.d", "post-install.d", "post-root.d"),
    *("block-device.d", "pre-finalise.d", "finalise.d", "cleanup.d"),
)
SCRIPT = re.compile(r"\d\d-[0-9A-Za-z_-]+")
UPSTREAM = Path(diskimage_builder.__file__).with_name("elements")


def main(wanted: list[str]) -> int:
    os.environ["ELEMENTS_PATH"] = f"{os.environ['ELEMENTS_PATH']}:{UPSTREAM}"
    elements = {name: Path(path) for name, path in sorted(get_elements(wanted))}
    environ = sourced(elements)
    print("elements")
    for name, path in elements.items():
        print(f"  {name}" + ("" if UPSTREAM in path.parents else f"  {path}"))
    print("scripts")
    for phase in PHASES:
        for script, name in sorted(scripts(elements, phase, environ)):
            print(f"  {phase}/{script}  {name}")
    print("packages")
    for phase, action, package, name in sorted(packages(elements, environ)):
        mapped = " ".join(distribution_names(elements[name], package, environ))
        print(f"  {phase} {action} {mapped or '(nothing)'}  {name}: {package}")
    print("environment")
    for variable in sorted(environ):
        if variable.startswith("DIB_"):
            print(f"  {variable}={environ[variable]}")
    return 0


def sourced(elements: Mapping[str, Path]) -> dict[str, str]:
    """The environment after every element's environment.d, by number over all elements, as before each phase."""
    files = sorted((path for root in elements.values() for path in root.glob("environment.d/*")), key=lambda p: p.name)
    lines = "".join(f'source "{path}"\n' for path in files)
    defaults = {"DIB_DEFAULT_INSTALLTYPE": "source", "IMAGE_NAME": "image", "DIB_OFFLINE": "", "TMP_HOOKS_PATH": "/"}
    done = subprocess.run(
        ["bash", "-euc", f"{lines}env -0"],
        env={**defaults, **os.environ},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    pairs = (entry.partition("=") for entry in done.stdout.split("\0") if "=" in entry)
    return {name: value for name, _, value in pairs}


def scripts(elements: Mapping[str, Path], phase: str, environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """The scripts of a phase with their element; of install types only the one that is chosen."""
    for name, root in elements.items():
        places = [root / phase]
        places += [p for p in sorted((root / phase).glob("*-install")) if p.is_dir() and chosen(p.name, environ)]
        for place in places:
            for path in place.iterdir() if place.is_dir() else ():
                if path.is_file() and os.access(path, os.X_OK) and SCRIPT.fullmatch(path.name):
                    yield path.name, name


def chosen(directory: str, environ: Mapping[str, str]) -> bool:
    """Whether the install type of a directory <prefix>-<type>-install is the one to use."""
    prefix, _, kind = directory.removesuffix("-install").rpartition("-")
    variable = f"DIB_INSTALLTYPE_{prefix.replace('-', '_')}"
    return kind == environ.get(variable, environ["DIB_DEFAULT_INSTALLTYPE"])


def packages(elements: Mapping[str, Path], environ: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
    """phase, install or uninstall, package, element; diskimage-builder's own program says which of them count."""
    program = UPSTREAM / "package-installs/bin/package-installs-squash"
    with tempfile.NamedTemporaryFile() as answer:
        command = [sys.executable, str(program), "--elements", " ".join(elements), "--path", environ["ELEMENTS_PATH"]]
        subprocess.run([*command, answer.name], env=dict(environ), check=True, capture_output=True, timeout=60)
        squashed = json.loads(Path(answer.name).read_text())
    for phase, actions in squashed.items():
        for action, listed in actions.items():
            for package, name in listed:
                yield phase, action, package, name


def distribution_names(element: Path, package: str, environ: Mapping[str, str]) -> list[str]:
    """What a package is called in the image's distribution: pkg-map's rules, the most particular entry counts."""
    if not (element / "pkg-map").is_file():
        return [package]
    known = json.loads((element / "pkg-map").read_text())
    distribution, release = environ.get("DISTRO_NAME", ""), environ.get("DIB_RELEASE", "")
    family = pkg_map().os_family(distribution)
    entries = [known.get("release", {}).get(distribution, {}).get(release, {})]
    entries += [known.get("distro", {}).get(distribution, {}), known.get("family", {}).get(family, {})]
    entries += [known.get("default", {}), {package: package}]
    named: str = next(entry[package] for entry in entries if package in entry)
    return named.split()


@cache
def pkg_map() -> ModuleType:
    """diskimage-builder's program, as a module: it knows which distribution is of which family."""
    loader = SourceFileLoader("pkg_map", str(UPSTREAM / "pkg-map/bin/pkg-map"))
    spec = spec_from_loader(loader.name, loader)
    assert spec
    module = module_from_spec(spec)
    sys.dont_write_bytecode = True  # beside a program of somebody else's
    loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
