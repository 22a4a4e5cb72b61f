"""os-collect-config, os-refresh-config, os-apply-config and heat-agents, as their image elements arrange them.

Everything they write is led below a directory by their own settings. heat-agents is programs without a package: they
come from its source archive, fetched by the hash in the lock into the cache directory.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from benchmarks import environments
from benchmarks.cost import Command
from benchmarks.server import CHECKOUT

LOCK = CHECKOUT / ".ci/locks/peers.txt"

# os-apply-config appends to /var/log when it is root, and no setting of its own says otherwise.
_NOT_ROOT = "import os\nos.geteuid = lambda: 65534\n"


def environment() -> Path:
    """The virtual environment of the peers, made on first use."""
    return environments.environment("peers")


@functools.cache
def unpacked(name: str = "heat-agents") -> Path:
    """The unpacked source of what the lock pins beside the peers' environment, fetched on first use."""
    home = environment().with_name(f"{environment().name}-{name}")
    if home.exists():
        return home
    pinned = re.search(rf"^{name}==(?:.*\\\n)*.*\n", LOCK.read_text(), re.MULTILINE)
    assert pinned, f"{LOCK} pins no {name}"
    with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
        wanted = Path(scratch) / "wanted.txt"
        wanted.write_text(pinned[0])
        pip = [
            str(environment() / "bin/python"),
            "-I",
            "-m",
            "pip",
            "-qq",
            "--disable-pip-version-check",
            "download",
        ]
        only = ["--no-deps", "--no-binary", name, "--require-hashes", "--dest", scratch, "-r", str(wanted)]
        subprocess.run([*pip, *only], check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
        (archive,) = Path(scratch).glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(Path(scratch) / "all", filter="data")
        (found,) = (Path(scratch) / "all").iterdir()
        found.rename(home)
    return home


@dataclass(frozen=True)
class Theirs:
    """The peers with one source: the URL, or the file that cloud-init leaves when there is none."""

    root: Path
    url: str = ""

    @property
    def local_file(self) -> Path:
        return self.root / "cfn-init-data"

    def once(self) -> Command:
        return self._command("--one-time")

    def daemon(self, shortest_s: float, longest_s: float) -> Command:
        return self._command("--polling-interval", str(longest_s), "--min-polling-interval", str(shortest_s))

    def _command(self, *arguments: str) -> Command:
        configuration = self.root / "os-collect-config.conf"
        if not configuration.exists():
            self._arrange(configuration)
        argv = (str(environment() / "bin/os-collect-config"), "--config-file", str(configuration), *arguments)
        return Command(argv, self._env(), self.root / "log")

    def _arrange(self, configuration: Path) -> None:
        """The directories as the elements heat-config and heat-config-script make them in an image."""
        source = unpacked()
        for name in ("cache", "backup", "hooks", "quiet", "tmp", "configure.d"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        template = self.root / "templates" / self._shell_config.relative_to("/")
        template.parent.mkdir(parents=True)
        shutil.copy(source / "heat-config/os-apply-config/var/run/heat-config/heat-config", template)
        (self.root / "quiet/sitecustomize.py").write_text(_NOT_ROOT)
        self._script("configure.d/20-os-apply-config", f"PYTHONPATH={self.root}/quiet exec os-apply-config\n")
        _install(source / "heat-config/os-refresh-config/configure.d/55-heat-config", self.root / "configure.d")
        _install(source / "heat-config/bin/heat-config-notify", self.root)
        _install(source / "heat-config-script/install.d/hook-script.py", self.root / "hooks/script")
        collector = f"collectors = {'request' if self.url else 'heat_local'}\n"
        command = f"command = os-refresh-config --lockfile {self.root}/lock\n"
        places = f"cachedir = {self.root}/cache\nbackup_cachedir = {self.root}/backup\n"
        sources = f"[request]\nmetadata_url = {self.url}\n[heat_local]\npath = {self.local_file}\n"
        configuration.write_text("[DEFAULT]\n" + collector + command + places + sources)

    @property
    def _shell_config(self) -> Path:
        return self.root / "run/heat-config"

    def _script(self, name: str, text: str) -> None:
        path = self.root / name
        path.write_text("#!/bin/sh\n" + text)
        path.chmod(0o755)

    def _env(self) -> dict[str, str]:
        return {
            "PATH": f"{environment() / 'bin'}:{os.defpath}",
            "LANG": "C.UTF-8",
            "HOME": str(self.root),
            "TMPDIR": str(self.root / "tmp"),
            "OS_REFRESH_CONFIG_BASE_DIR": str(self.root),
            "OS_CONFIG_APPLIER_TEMPLATES": str(self.root / "templates"),
            "HEAT_SHELL_CONFIG": str(self._shell_config),
            "HEAT_CONFIG_HOOKS": str(self.root / "hooks"),
            "HEAT_CONFIG_DEPLOYED": str(self.root / "deployed"),
            "HEAT_CONFIG_DEPLOYED_OLD": str(self.root / "deployed-old"),
            "HEAT_CONFIG_NOTIFY": str(self.root / "heat-config-notify"),
            "HEAT_SCRIPT_WORKING": str(self.root / "working"),
            "HEAT_SCRIPT_OUTPUTS": str(self.root / "outputs"),
        }


def _install(program: Path, target: Path) -> None:
    Path(shutil.copy(program, target)).chmod(0o755)
