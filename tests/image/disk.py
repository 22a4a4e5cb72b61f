"""A machine that is not this one's: the built image on a raw disk, a kernel of Debian's, all of it emulated by QEMU.

No namespaces, no cgroups and no KVM of this machine's help: a nested one may be there and hang. A boot takes a minute.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shipping import cache
from tests.guest import install as guest
from tests.image import install
from tests.waiting import LONGEST_S

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "depmod": "kmod",
    "debugfs": "e2fsprogs",
}
KERNEL = "linux-image-cloud-amd64"
MODULES = ("virtio_pci", "virtio_blk", "ext4")
SIZE = "1200M"
BOOT_S = 600.0
LOOK_S = 0.5

INIT = f"""#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs dev /dev
for module in {" ".join(MODULES)}; do /bin/busybox modprobe $module; done
/bin/busybox mount -t ext4 -o rw /dev/vda /root
exec /bin/busybox switch_root /root /lib/systemd/systemd
"""


def ensure() -> int:
    """Install what is missing here and fetch the kernel; returns an exit status."""
    lacking = [package for program, package in TOOLS.items() if not shutil.which(program)]
    command = ["apt-get", "--quiet", "install", "--yes", "--no-install-recommends", *lacking]
    if lacking and not guest.run(command):
        return 1
    return 0 if kernel() else 1


def kernel() -> Path:
    """A directory with vmlinuz and an initial root file system that finds a disk; made when it is not there."""

    def make(half: Path) -> None:
        download = half / "download"
        download.mkdir()
        for package in (KERNEL, _depended(KERNEL)):
            _run("apt-get", "--quiet", "--option", "APT::Sandbox::User=root", "download", package, cwd=download)
        for package in download.glob("*.deb"):
            _run("dpkg-deb", "--extract", str(package), str(half / "tree"))
        shutil.copy(next((half / "tree/boot").glob("vmlinuz-*")), half / "vmlinuz")
        _initial(half / "tree", half / "initrd")
        shutil.rmtree(download)
        shutil.rmtree(half / "tree")

    return cache.once(f"kernel-{cache.digest(INIT, _depended(KERNEL))}", make)


def _depended(package: str) -> str:
    """The one package that this one depends on: a kernel of a certain version."""
    lines = _run("apt-cache", "depends", package).splitlines()
    return next(line.split()[-1] for line in lines if "Depends: linux-image-" in line)


def _initial(tree: Path, target: Path) -> None:
    """A cpio archive with busybox and the modules that MODULES need."""
    version = next((tree / "lib/modules").iterdir()).name
    _run("depmod", "--basedir", str(tree), version)
    root = tree.parent / "initial"
    (root / "bin").mkdir(parents=True)
    shutil.copy(shutil.which("busybox") or "", root / "bin/busybox")
    modules = root / f"lib/modules/{version}"
    for kind in ("virtio", "block", "net/core"):
        with suppress(FileNotFoundError):
            shutil.copytree(tree / f"lib/modules/{version}/kernel/drivers/{kind}", modules / f"kernel/drivers/{kind}")
    for kind in ("fs/ext4", "fs/jbd2", "fs/mbcache.ko", "lib", "crypto", "arch"):
        source = tree / f"lib/modules/{version}/kernel/{kind}"
        if source.is_dir():
            shutil.copytree(source, modules / f"kernel/{kind}")
        elif source.exists():
            shutil.copy(source, modules / f"kernel/{kind}")
    _run("depmod", "--basedir", str(root), version)
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\0".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    command = ["cpio", "--null", "--create", "--format=newc", "--quiet"]
    done = subprocess.run(command, cwd=root, input=names.encode(), capture_output=True, check=True, timeout=LONGEST_S)
    target.write_bytes(done.stdout)
    shutil.rmtree(root)


@dataclass
class Machine:
    """A disk, and the machine that boots it."""

    disk: Path
    console: Path
    process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """Power on; `said` tells how far it came."""
        found = kernel()
        append = "root=/dev/vda rw console=ttyS0 systemd.show_status=false systemd.mask=systemd-networkd-wait-online"
        argv = ["qemu-system-x86_64", "-m", "768", "-nodefaults", "-no-reboot", "-display", "none", "-accel", "tcg"]
        argv += ["-kernel", str(found / "vmlinuz"), "-initrd", str(found / "initrd"), "-append", append]
        argv += ["-drive", f"file={self.disk},if=virtio,format=raw,cache=writethrough"]
        argv += ["-serial", f"file:{self.console}", "-nic", "none"]
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL)

    def said(self) -> str:
        """What is on its console since it was powered on."""
        return self.console.read_text("utf-8", "replace") if self.console.exists() else ""

    def wait_said(self, text: str) -> None:
        self._wait(lambda: text in self.said(), f"{text!r} on the console")

    def wait_off(self) -> None:
        process = self.process
        assert process is not None
        self._wait(lambda: process.poll() is not None, "the machine to be off")

    def cut_power(self) -> None:
        """Nothing is synced, nothing is told."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(LONGEST_S)

    def read(self, name: str) -> str:
        """A file of the disk while the machine is off; "" when there is none."""
        return _run("debugfs", "-R", f"cat /{name}", str(self.disk))

    def mend(self) -> None:
        """What a boot with a file-system check does: the journal of the disk is replayed."""
        done = subprocess.run(["e2fsck", "-fp", str(self.disk)], capture_output=True, text=True, timeout=300)
        assert done.returncode in (0, 1), done.stdout + done.stderr

    def _wait(self, condition: Any, what: str) -> None:
        deadline = time.monotonic() + BOOT_S
        while not condition():
            assert time.monotonic() < deadline, f"waited {BOOT_S:.0f} s for {what}\n{self.said()[-4000:]}"
            assert self.process is not None
            assert self.process.poll() is None or condition(), f"it went off without {what}\n{self.said()[-4000:]}"
            time.sleep(LOOK_S)


def machine(directory: Path, *deployments: dict[str, Any]) -> Machine:
    """The image on a disk of its own, with metadata that lists these deployments."""
    root = directory / "root"
    subprocess.run(["cp", "--archive", "--reflink=auto", str(install.built()), str(root)], check=True, timeout=300)
    place = root / "var/lib/os-collect-config/local-data"
    place.mkdir(parents=True, exist_ok=True)
    (place / "local.json").write_text(json.dumps({"deployments": deployments}))
    (root / "etc/cloud/cloud-init.disabled").touch()
    disk = directory / "disk.raw"
    _run("mke2fs", "-q", "-t", "ext4", "-d", str(root), str(disk), SIZE)
    shutil.rmtree(root)
    return Machine(disk, directory / "console")


def _run(*argv: str, cwd: Path | None = None) -> str:
    done = subprocess.run(argv, cwd=cwd, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{argv[0]} ended with {done.returncode}: {done.stderr[-1000:]}"
    return done.stdout
