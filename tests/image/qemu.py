"""`make qemu`: the image on an emulated machine with a disk of its own, and its power is cut. Takes minutes.

Not part of `make test`: its name is none that pytest looks for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.guest.machine import script
from tests.image import disk
from tests.image.disk import Machine

pytestmark = [pytest.mark.guest, pytest.mark.timeout(3600)]

DONE = "#!/bin/sh\necho run >>/root/runs\nsystemd-run --quiet --on-active=3 systemctl poweroff\n"
BEGUN = "#!/bin/sh\necho run >>/root/runs\nsync\necho THE-HOOK-HAS-BEGUN >/dev/console\nsleep 600\n"
MARKED = "var/lib/heat-config/deployed"


def outcome(machine: Machine, id: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(machine.read(f"{MARKED}/{id}.notify.json"))
    return content


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    (tmp_path / "disk.raw").unlink(missing_ok=True)


def test_the_image_boots_and_runs_its_deployment(directory: Path) -> None:
    machine = disk.machine(directory, script("whole", DONE))
    try:
        machine.boot()
        machine.wait_off()
    finally:
        machine.cut_power()
    machine.mend()

    assert 0 == outcome(machine, "whole")["deploy_status_code"]
    assert ["run"] == machine.read("root/runs").split()


def test_a_hook_whose_machine_lost_its_power_is_told_of_and_not_run_again(directory: Path) -> None:
    after = script("after", DONE.replace("run >>/root/runs", "after >>/root/runs"))
    machine = disk.machine(directory, script("cut", BEGUN), after)
    try:
        machine.boot()
        machine.wait_said("THE-HOOK-HAS-BEGUN")
        machine.cut_power()
        machine.mend()
        assert ["run"] == machine.read("root/runs").split()

        machine.boot()
        machine.wait_off()
    finally:
        machine.cut_power()
    machine.mend()

    assert 130 == outcome(machine, "cut")["deploy_status_code"]
    assert ["run", "after"] == machine.read("root/runs").split()
