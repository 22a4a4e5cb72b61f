"""The agent itself, with real containers: what they leave goes when their deployment leaves the metadata."""

import json
import subprocess
from pathlib import Path
from typing import Any

from tests.containers.conftest import Guest, deployment, on
from tests.containers.engine import IMAGE, Engine
from tests.containers.test_docker_compose import VERSION_3
from tests.waiting import LONGEST_S

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
SERVICE = {"image": IMAGE, "command": FOREVER}


def once(guest: Guest, *listed: dict[str, Any]) -> dict[str, Any]:
    """`agent --once` with these deployments in a document; their outcomes by id."""
    documents = guest.root / "var/lib/os-collect-config/local-data"
    documents.mkdir(mode=0o700, parents=True, exist_ok=True)
    (documents / "guest.json").write_text(json.dumps({"deployments": listed}))
    done = subprocess.run(
        guest.command("--once", "--collectors", "local"),
        env=guest.environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    assert done.returncode in (0, 1), done.stderr
    deployed = guest.root / "var/lib/heat-config/deployed"
    return {known["id"]: _outcome(deployed / f"{known['id']}.notify.json") for known in listed}


def _outcome(path: Path) -> Any:
    return json.loads(path.read_text())


def test_a_replacement_has_the_name_of_its_predecessor_and_a_deleted_one_leaves_nothing(
    guest: Guest, engine: Engine
) -> None:
    here = on(guest, engine)
    engine.call("run", "--detach", "--name", "foreign", IMAGE, *FOREVER)

    once(here, deployment("docker-cmd", {"web": SERVICE}, "c0ffee01"))
    first = engine.running()
    outcomes = once(here, deployment("docker-cmd", {"web": SERVICE}, "c0ffee02"))
    second, config = engine.running(), engine.labels("web")["config_id"]
    once(here)

    assert 0 == outcomes["c0ffee02"]["deploy_status_code"]
    assert ["foreign", "web"] == first == second
    assert "c0ffee02" == config
    assert ["foreign"] == engine.names()


def test_a_project_and_a_manifest_leave_with_their_deployments(guest: Guest, docker: Engine) -> None:
    manifests = guest.root / "manifests"
    here = on(guest, docker).with_variables(
        HEAT_DOCKER_COMPOSE_WORKING=str(guest.root / "compose"), HEAT_KUBELET_MANIFESTS=str(manifests)
    )
    pod = deployment("kubelet", {"containers": []}, "c0ffee02")

    outcomes = once(here, deployment("docker-compose", VERSION_3), pod)
    began = docker.running(), [path.name for path in manifests.iterdir()]
    once(here)

    assert [0, 0] == [outcome["deploy_status_code"] for outcome in outcomes.values()]
    assert (["project_web_1"], ["c0ffee02.json"]) == began
    assert ([], []) == (docker.running(), list(manifests.iterdir()))
