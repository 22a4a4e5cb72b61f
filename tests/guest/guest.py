"""A throw-away machine: a real systemd on a copy-on-write root, with a network and cgroups of its own.

    with boot(install.root()) as guest:
        guest.ask("systemctl", "is-system-running")

The root that is booted is never written to. What a guest writes is kept in memory until the `with` ends, over reboots
and power cuts. Whatever ends this process ends its guests, their mounts and their networks.
"""

from __future__ import annotations

import ctypes
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TypeVar

from tests.waiting import LONGEST_S, until

T = TypeVar("T")

BOOT = Path(__file__).with_name("boot.sh")
ADDRESSES = ("127.0.0.1/8", "169.254.169.254/32")  # the second one is the cloud's metadata service
ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "SYSTEMD_PAGER": "",
    "SYSTEMD_COLORS": "0",
}
POWER_OFF = signal.SIGRTMIN + 4  # systemd(1)
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000


class BootFailed(AssertionError):
    """The guest did not come up, or did not go down."""


@dataclass
class Guest:
    """`root` is its disk, seen from here."""

    root: Path
    console: Path
    name: str
    id: str
    network: ThreadPoolExecutor = field(repr=False)
    _supervisor: subprocess.Popen[bytes] | None = None

    def start(self, unit: str = "") -> None:
        """Switch it on; returns when it is up, or when this unit is active."""
        assert not self.on
        command = ["setpriv", "--pdeathsig", "KILL", "sh", str(BOOT), str(self.root), self.name, self.id]
        with self.console.open("ab") as console:
            self._supervisor = self.inside(lambda: subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console,
                                                                    stderr=console))  # fmt: skip
        self.wait_until_up(unit)

    def wait_until_up(self, unit: str = "") -> None:
        """Return when every unit of the boot has been tried, or when this one is active."""
        question = ["systemctl", "is-active", unit] if unit else ["systemctl", "is-system-running"]
        answers = ("active",) if unit else ("running", "degraded")

        def is_up() -> bool:
            assert self._supervisor
            if self._supervisor.poll() is not None:
                raise BootFailed(f"{self.name} ended: {self.said()}")
            return self.init > 0 and self.run(*question).stdout.strip() in answers

        until(is_up, lambda: f"{self.name} to be up; {self.said()}")

    @property
    def on(self) -> bool:
        return self._supervisor is not None and self._supervisor.poll() is None

    @property
    def init(self) -> int:
        """Its PID 1 as this machine counts it, 0 while that is no systemd yet."""
        first = self._first
        with suppress(OSError):
            return first if first and Path(f"/proc/{first}/comm").read_text().strip() == "systemd" else 0
        return 0

    @property
    def _first(self) -> int:
        """The first process of the guest's, 0 while there is none."""
        if not self.on:
            return 0
        assert self._supervisor
        pid = self._supervisor.pid
        with suppress(OSError, IndexError):
            return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
        return 0

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program in it as root."""
        variables = [f"{name}={value}" for name, value in ENVIRONMENT.items()]
        enter = ["nsenter", "--target", str(self.init), *("-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w")]
        return subprocess.run(
            [*enter, "env", "-i", *variables, *command], input=stdin, capture_output=True, text=True, timeout=LONGEST_S
        )

    def ask(self, *command: str, stdin: str = "") -> str:
        """What a program that must succeed prints."""
        done = self.run(*command, stdin=stdin)
        assert done.returncode == 0, f"{' '.join(command)} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return done.stdout.strip()

    def show(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.ask("systemctl", "show", "--property", name, "--value", unit)

    def inside(self, task: Callable[[], T]) -> T:
        """Run a function of this process in the guest's network: what it listens on is the guest's 127.0.0.1."""
        return self.network.submit(task).result(LONGEST_S)

    def cut_power(self) -> None:
        """Every process ends in the midst of what it does; the disk stays as it is."""
        assert self._supervisor
        with suppress(ProcessLookupError):  # it goes off by itself
            os.kill(self._first or self._supervisor.pid, signal.SIGKILL)
        self.wait_until_off()

    def power_off(self) -> None:
        os.kill(self.init, POWER_OFF)
        self.wait_until_off()

    def reboot(self) -> None:
        self.run("systemctl", "reboot")
        self.wait_until_off()
        self.start()

    def wait_until_off(self) -> None:
        assert self._supervisor
        try:
            self._supervisor.wait(LONGEST_S)
        except subprocess.TimeoutExpired:
            raise BootFailed(f"{self.name} was not off within {LONGEST_S:.0f} s; {self.said()}") from None

    def said(self) -> str:
        return self.console.read_text("utf-8", "replace")[-2000:]


@contextmanager
def boot(
    base: Path,
    *,
    name: str = "guest",
    prepare: Callable[[Path], object] | None = None,
    environment: Mapping[str, str] | None = None,
    listen: Callable[[], object] | None = None,
    unit: str = "",
) -> Iterator[Guest]:
    """A guest that is up, or whose `unit` is active, on the root file system at `base`.

    `prepare` is given its root before it boots, `listen` is called in its network before it boots; `environment`
    becomes that of its PID 1, as a virtual machine's firmware would tell: `product_name` for cloud-init.
    """
    _private_mounts()
    scratch = Path(tempfile.mkdtemp(prefix="guest-"))
    unique = f"guest-{os.getpid()}-{secrets.token_hex(3)}"
    with ThreadPoolExecutor(1, thread_name_prefix=unique) as network:
        guest = Guest(scratch / "root", scratch / "console", name, unique, network)
        try:
            _mount(base, scratch)
            (guest.root / "etc/fstab").write_text("")  # its disks are not there
            (guest.root / ".environment").write_text("\n".join(f"{k}={v}" for k, v in (environment or {}).items()))
            if prepare:
                prepare(guest.root)
            network.submit(_new_network).result(LONGEST_S)
            if listen:
                network.submit(listen).result(LONGEST_S)
            guest.start(unit)
            yield guest
        finally:
            _end(guest, scratch)


def _end(guest: Guest, scratch: Path) -> None:
    if guest.on:
        guest.cut_power()
    for mounted in (guest.root, scratch / "disk"):
        subprocess.run(["umount", "--lazy", str(mounted)], stderr=subprocess.DEVNULL)
    shutil.rmtree(scratch)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.partition(" - ")[2].split()[0] in ("cgroup", "cgroup2"):
            _remove_cgroups(Path(line.split()[4]) / guest.id)


def _remove_cgroups(top: Path) -> None:
    for directory, _, _ in os.walk(top, topdown=False):
        with suppress(OSError):  # its last process is just going
            Path(directory).rmdir()


def _mount(base: Path, scratch: Path) -> None:
    disk, root = scratch / "disk", scratch / "root"
    disk.mkdir()
    root.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=3g", "guest", str(disk)], check=True)
    for place in ("upper", "work"):
        (disk / place).mkdir()
    layers = f"lowerdir={base},upperdir={disk}/upper,workdir={disk}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "guest", str(root)], check=True)


@cache
def _private_mounts() -> None:
    """From here on what this process mounts is seen by it and its children alone, and goes with the last of them."""
    _call("unshare", CLONE_NEWNS)
    _call("mount", None, b"/", None, MS_REC | MS_PRIVATE, None)


def _new_network() -> None:
    """Put this thread, and what it starts, into a network without any way out."""
    _call("unshare", CLONE_NEWNET)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for address in ADDRESSES:
        subprocess.run(["ip", "address", "replace", address, "dev", "lo"], check=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
