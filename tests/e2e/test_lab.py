"""The lab itself keeps what it promises, shown by a guest without an agent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from tests.e2e.cloud import Heat, Stack, eventually
from tests.e2e.cloud import signal as send_signal
from tests.e2e.conftest import Launcher
from tests.e2e.guest import CHECKOUT
from tests.e2e.transports import CFN, TEMP_URL, Transports
from tests.lab import processes, services
from tests.lab.model import Lab
from tests.waiting import LONGEST_S

FINE = {"greeting": "raw", "deploy_stdout": "out", "deploy_stderr": "", "deploy_status_code": 0}


def answer(heat: Heat, stack: Stack, body: dict[str, object]) -> None:
    """Send the signal whose address stands in the deployment's own inputs."""
    heat.wait_offered(stack, "hello")
    inputs = {each["name"]: each.get("value") for each in heat.offered(stack)["hello"]["inputs"]}
    send_signal(inputs["deploy_signal_id"], inputs["deploy_signal_verb"], body)


def test_every_service_answers(heat: Heat) -> None:
    answering = [name for name in heat.lab.services if services.up(heat.lab, name)]

    assert list(heat.lab.services) == answering


@pytest.mark.parametrize("transports", [CFN, TEMP_URL], ids=str)
def test_a_raw_signal_completes_a_stack(heat: Heat, launch: Launcher, transports: Transports) -> None:
    stack = launch("script.yaml", **transports.parameters)

    answer(heat, stack, FINE)

    heat.wait(stack, "CREATE_COMPLETE")
    assert {"greeting": "raw", "stdout": "out", "stderr": "", "status_code": 0} == heat.outputs(stack)


def test_a_raw_signal_fails_a_stack(heat: Heat, launch: Launcher) -> None:
    stack = launch("script.yaml", **CFN.parameters)

    answer(heat, stack, {**FINE, "deploy_status_code": 3, "deploy_stderr": "sorry"})

    assert "non-zero status code: 3" in heat.wait(stack, "CREATE_FAILED").reason
    assert "sorry" == heat.deployment(stack, "deployment")["output_values"]["deploy_stderr"]


def test_a_service_sent_away_answers_503_until_it_is_brought_back(heat: Heat) -> None:
    address = heat.lab.url("heat") + "/healthcheck"

    services.send_away(heat.lab, "heat")
    while_away = requests.get(address, timeout=LONGEST_S).status_code
    services.bring_back(heat.lab, "heat")
    afterwards = requests.get(address, timeout=LONGEST_S).status_code

    assert (503, 200) == (while_away, afterwards)


def test_one_service_stops_and_starts_again(heat: Heat) -> None:
    services.stop_service(heat.lab, "zaqar")
    while_stopped = services.up(heat.lab, "zaqar")
    services.start_service(heat.lab, "zaqar", tethered=True)
    services.wait_for(heat.lab, "zaqar")

    assert not while_stopped
    assert services.up(heat.lab, "heat")


def test_a_tethered_process_dies_with_its_parent_whatever_kills_that() -> None:
    spawn = "import os, subprocess, sys; subprocess.Popen([sys.executable, '-m', 'tests.lab.tether', "
    spawn += "str(os.getpid()), 'sh', '-c', 'echo $$; exec sleep 60']).wait()"
    parent = subprocess.Popen([sys.executable, "-c", spawn], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    with parent.stdout:
        child = int(parent.stdout.readline())

    parent.kill()
    parent.wait()

    eventually(lambda: processes.started_at(child) is None, "the child to be gone")


def test_stop_spares_a_process_that_only_has_the_pid_of_ours(tmp_path: Path) -> None:
    lab = Lab(tmp_path, tmp_path, 1)
    lab.run.mkdir()
    stranger = subprocess.Popen(["sleep", "60"])
    (lab.run / "zaqar.pid").write_text(f"{stranger.pid} 1\n")

    processes.stop(lab, "zaqar")
    time.sleep(0.1)
    spared = stranger.poll() is None
    os.kill(stranger.pid, signal.SIGKILL)
    stranger.wait()

    assert spared
