"""The real tools: ansible, salt and the peers in environments in the cache directory, puppet by the distribution."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import cache
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

from tests.conftest import CHECKOUT

PROGRAMS = {"ansible": "ansible-playbook", "salt": "salt-call"}  # lock -> what it brings
PEERS = {"peers": "os-apply-config"}  # the tools that this agent replaces
PUPPET = "puppet-agent"
TRIES = 3
PAUSE_S = 10
OLDEST = (3, 11)  # what the locks are for


def say(text: str) -> None:
    print(f"tools: {text}", file=sys.stderr, flush=True)


def directory(name: str) -> Path | None:
    """Where the programs of a lock are, None when it is not installed."""
    recipe = environment()
    target = recipe.cache() / f"venv-{recipe.digest(recipe.probe(sys.executable), [lock(name)])}"
    return target / "bin" if recipe.ready(target) else None


def puppet() -> str | None:
    return shutil.which("puppet")


def install() -> list[str]:
    """Install whatever is missing, each in three tries; what could not be."""
    wanted = dict.fromkeys(PROGRAMS | PEERS, install_environment) | {"puppet": install_puppet}
    return [name for name, how in wanted.items() if not any(attempt(name, how, number) for number in range(TRIES))]


def attempt(name: str, how: Callable[[str], str], number: int) -> bool:
    if number:
        say(f"{name}: try {number + 1} of {TRIES} in {PAUSE_S} s")
        time.sleep(PAUSE_S)
    where = how(name)
    if where:
        say(f"{name} is {where}")
    return bool(where)


def install_environment(name: str) -> str:
    if sys.version_info < OLDEST:
        say(f"{name} needs Python 3.11 or newer; run this with such a one")
        return ""
    found = directory(name)
    if not found:
        say(f"installing {lock(name).name}")
        subprocess.run([sys.executable, CHECKOUT / ".ci/environment", lock(name)], stdout=subprocess.DEVNULL)
        found = directory(name)
    return str(found / (PROGRAMS | PEERS)[name]) if found else ""


def install_puppet(_name: str) -> str:
    if found := puppet():
        return found
    if os.geteuid() or not shutil.which("apt-get"):
        say(f"puppet is not on PATH; as root: apt-get install --yes {PUPPET}")
        return ""
    say(f"installing {PUPPET} with apt-get")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "--quiet", "--yes", "-o", "DPkg::Lock::Timeout=300"]
    subprocess.run([*apt, "update"], env=quiet, stdout=sys.stderr)
    subprocess.run([*apt, "install", "--no-install-recommends", PUPPET], env=quiet, stdout=sys.stderr)
    return puppet() or ""


def lock(name: str) -> Path:
    return CHECKOUT / ".ci/locks" / f"{name}.txt"


@cache
def environment() -> ModuleType:
    """`.ci/environment`, a program, as a module: it knows where an environment would be."""
    loader = SourceFileLoader("ci_environment", str(CHECKOUT / ".ci/environment"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module
