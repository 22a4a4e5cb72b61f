"""What the agent adds to an image, and how soon after the boot it has deployed: `python -m tests.image measure`."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from shipping import deb
from shipping.cache import CHECKOUT
from tests.image import install, machine, old
from tests.image.machine import Instance, Source, bootstrap
from tests.image.test_boot import OWN, SCRIPT
from tests.process.endpoint import Endpoint
from tests.waiting import LONGEST_S, until

BOOTS = 5
# The elements os-collect-config, os-apply-config, os-refresh-config and heat-config.
OLD_TOOLS = ("os-collect-config", "os-apply-config", "os-refresh-config", "dib-utils", "python-heatclient",
             "python-zaqarclient", "python-keystoneclient")  # fmt: skip


def main() -> int:
    image, without = install.built(), install.root()
    nothing, old_nothing, old_image = (mebibytes(root) for root in (without, old.root(), old.built()))
    print(f"load of this machine           {os.getloadavg()[0]:6.1f}, {os.cpu_count()} cores")
    print(f"image without the agent        {nothing:6.0f} MiB")
    print(f"added by the elements          {mebibytes(image) - nothing:6.0f} MiB")
    print(f"added by the old tools' own    {old_image - nothing:6.0f} MiB")
    print(f"  by packages they build with  {old_nothing - nothing:6.0f} MiB, which stay in it")
    print(f"  by themselves                {old_image - old_nothing:6.0f} MiB")
    print(f"the old tools' Python packages {old_tools():6.0f} MiB")
    print(f"Debian package                 {deb.package().stat().st_size / 2**20:6.1f} MiB")
    for what, source in (("a file that is there", there), ("cloud-init, NoCloud", machine.no_cloud)):
        taken = [boot_to_signal(image, source) for _ in range(BOOTS)]
        middle, least, most = statistics.median(taken), min(taken), max(taken)
        print(f"power on to first outcome, {what}: {middle:.1f} s ({least:.1f} to {most:.1f})")
    return 0


def mebibytes(directory: Path) -> float:
    said = subprocess.run(
        ["du", "-sk", directory], capture_output=True, text=True, check=True, timeout=LONGEST_S
    ).stdout
    return int(said.split()[0]) / 1024


def old_tools() -> float:
    """What the old tools' elements install by pip, with all that it needs: MiB of disk."""
    command = [sys.executable, str(CHECKOUT / ".ci/environment"), str(CHECKOUT / ".ci/locks/peers.txt")]
    made = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=600).stdout.strip()
    program = [f"{made}/bin/python", str(Path(__file__).with_name("closure.py")), *OLD_TOOLS]
    done = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=True, timeout=LONGEST_S)
    return int(done.stdout) / 2**20


def there(root: Path, _instance: Instance) -> None:
    """No cloud-init: Ignition, or the image itself, has left the file."""
    path = root / OWN
    path.parent.mkdir(parents=True, mode=0o700)
    path.write_text(json.dumps(bootstrap()))


def boot_to_signal(image: Path, source: Source) -> float:
    """Seconds from before PID 1 until a script's outcome arrives, at the first boot."""
    times: list[float] = []

    def ready(endpoint: Endpoint) -> None:
        def note(_request: object, _name: str) -> bool:
            times.append(time.monotonic())
            return False

        endpoint.port, endpoint.spoil = machine.PORT, note
        endpoint.serve(endpoint.script("web", SCRIPT))
        times.append(time.monotonic())

    instance = Instance("11111111-0000-4000-8000-000000000000", machine.user_data(bootstrap()))
    with machine.machine(image, source, instance, ready=ready):
        until(lambda: len(times) > 1, lambda: "the outcome")
    return times[1] - times[0]
