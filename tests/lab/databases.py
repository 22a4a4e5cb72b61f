"""What exists before any service runs: tables, keys, rings. Made once per lab."""

import getpass
import os
from concurrent.futures import ThreadPoolExecutor

from tests.lab import processes
from tests.lab.model import PASSWORD, REGION, Lab


def create(lab: Lab) -> None:
    """Make whatever is missing, the three services side by side."""
    stamp = lab.data / "created"
    if stamp.exists():
        return
    with ThreadPoolExecutor() as pool:
        for done in [pool.submit(make, lab) for make in (keystone, heat, zaqar_and_swift)]:
            done.result()
    stamp.touch()


def keystone(lab: Lab) -> None:
    owner = ["--keystone-user", getpass.getuser(), "--keystone-group", str(os.getgid())]
    addresses = [
        word
        for interface in ("public", "internal", "admin")
        for word in (f"--bootstrap-{interface}-url", lab.url("keystone"))
    ]
    for keys in ("fernet", "credential"):
        (lab.data / keys).mkdir(mode=0o700, exist_ok=True)
    for words in (
        ["db_sync"],
        ["fernet_setup", *owner],
        ["credential_setup", *owner],
        ["bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION, *addresses],
    ):
        processes.run(lab, [*manage(lab, "keystone"), *words])


def heat(lab: Lab) -> None:
    processes.run(lab, [*manage(lab, "heat"), "db_sync"])
    processes.run(lab, inside(lab, "numbering"))


def zaqar_and_swift(lab: Lab) -> None:
    processes.run(lab, inside(lab, "tables"))
    processes.run(lab, inside(lab, "rings"))


def manage(lab: Lab, service: str) -> list[str]:
    return [str(lab.venv / "bin" / f"{service}-manage"), "--config-file", str(lab.etc / f"{service}.conf")]


def inside(lab: Lab, module: str) -> list[str]:
    """The argv of one of our modules under the lab's own Python."""
    return [str(lab.python), "-m", f"tests.lab.inside.{module}", str(lab.directory)]
