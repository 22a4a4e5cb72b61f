"""The Debian package: the agent and its pinned packages in a directory of their own, from the wheelhouse."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import agent
from shipping import cache, wheels
from shipping.cache import CHECKOUT
from shipping.image import CannotBuild, architecture

HOME = "usr/lib/os-deploy-agent"
PARTS = Path(__file__).with_name("debian")
SETTINGS = CHECKOUT / "dib-elements/os-deploy-agent/os-deploy-agent-default.conf"
SCRIPT = f"""#!/{HOME}/bin/python3
import sys
from agent.cli.main import entry
sys.exit(entry())
"""
NAMES = ("agent", "os-deploy-agent")
RECIPE = "1"  # raise it when this file changes what a package holds
BUILD_S = 600


def package(*, python: str = wheels.PYTHON, version: str = agent.__version__) -> Path:
    """The .deb for machines with this Python; built once per content. Raises CannotBuild."""
    if not shutil.which("dpkg-deb"):
        raise CannotBuild("building a Debian package: dpkg-deb is not on PATH; install dpkg")
    house = wheels.wheelhouse(python)
    contents = cache.content(("shipping/debian", "shipping/deb.py", str(SETTINGS.relative_to(CHECKOUT))))
    file = f"os-deploy-agent_{version}_{architecture()}.deb"

    def make(half: Path) -> None:
        root = half / "root"
        _fill(root, house, python)
        _describe(root, python, version)
        command = ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", str(root), str(half / file)]
        subprocess.run(command, check=True, stdout=sys.stderr, timeout=BUILD_S)
        shutil.rmtree(root)

    return cache.once(f"deb-{cache.digest(RECIPE, contents, house.name, python, version)}", make) / file


def _fill(root: Path, house: Path, python: str) -> None:
    """The virtual environment as `python3 -m venv` makes it, but for another machine's Python."""
    home, site = root / HOME, root / HOME / f"lib/python{python}/site-packages"
    platforms = [f"--platform={name}_{platform.machine()}" for name in wheels.GLIBC]
    command = [sys.executable, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-compile"]
    command += ["--no-index", "--find-links", str(house), "--only-binary=:all:", f"--python-version={python}"]
    command += [*platforms, "--target", str(site), f"os-deploy-agent[{wheels.EXTRAS}]"]
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=BUILD_S)
    for left in ("bin", "lib"):  # scripts for the Python that built this, and the units
        shutil.rmtree(site / left, ignore_errors=True)
    (home / "bin").mkdir()
    (home / "bin/python3").symlink_to(f"/usr/bin/python{python}")
    (home / "pyvenv.cfg").write_text(f"home = /usr/bin\ninclude-system-site-packages = false\nversion = {python}\n")
    for name in NAMES:
        program = home / "bin" / name
        program.write_text(SCRIPT)
        program.chmod(0o755)
        link = root / "usr/bin" / name
        link.parent.mkdir(exist_ok=True)
        link.symlink_to(f"/{HOME}/bin/{name}")
    shutil.copytree(CHECKOUT / "systemd", root / "usr/lib/systemd/system")
    settings = root / "etc/os-deploy-agent/10-package.conf"
    settings.parent.mkdir(parents=True)
    shutil.copyfile(SETTINGS, settings)
    settings.chmod(0o600)


def _describe(root: Path, python: str, version: str) -> None:
    """What dpkg is told: control file and maintainer scripts."""
    kib = sum(path.lstat().st_size for path in root.rglob("*")) // 1024
    major, minor = map(int, python.split("."))
    known = {"VERSION": version, "ARCHITECTURE": architecture(), "SIZE": kib, "PYTHON": python}
    known["NEXT"] = f"{major}.{minor + 1}"
    text = (PARTS / "control").read_text()
    for name, value in known.items():
        text = text.replace(f"@{name}@", str(value))
    target = root / "DEBIAN"
    shutil.copytree(PARTS, target)
    (target / "control").write_text(text)
