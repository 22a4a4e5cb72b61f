"""What exists before any service runs: tables, keys, rings. Made once per lab."""

import base64
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

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
    addresses = [
        word
        for interface in ("public", "internal", "admin")
        for word in (f"--bootstrap-{interface}-url", lab.url("keystone"))
    ]
    for purpose in ("fernet", "credential"):
        make_keys(lab.data / purpose)
    processes.run(lab, [*manage(lab, "keystone"), "db_sync"])
    bootstrap = ["bootstrap", "--bootstrap-password", PASSWORD, "--bootstrap-region-id", REGION]
    processes.run(lab, [*manage(lab, "keystone"), *bootstrap, *addresses])


def make_keys(repository: Path) -> None:
    """What fernet_setup and credential_setup make in two seconds each: a staged key (0) and a primary one (1)."""
    repository.mkdir(mode=0o700, exist_ok=True)
    for name in ("0", "1"):
        (repository / name).write_bytes(base64.urlsafe_b64encode(os.urandom(32)))
        (repository / name).chmod(0o600)


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
