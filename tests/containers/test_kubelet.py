"""`agent hook kubelet` and its sync: an engine stands in for what a kubelet would start."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.containers.conftest import Guest, deployment, on
from tests.containers.engine import IMAGE, Engine
from tests.waiting import LONGEST_S, until

FOREVER = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]
ID = "fc9070b3-ba4e-4f22-b732-5ffdcdb40b74"
NAME = "k8s_mariadb.dac8ccce_fc9070b3ba4e4f2uv6pejpu5nqbmrqoungurhtob5gvt.default.file_2c8cf9fc94674e8b_dcd1e1d9"
POD = {"version": "v1beta2", "containers": [{"name": "mariadb", "image": "tiny"}]}
IN_TIME = {"images_timeout": 300, "containers_timeout": 300, "poll_period": 0.1}


@pytest.fixture
def here(guest: Guest, engine: Engine) -> Guest:
    return on(guest, engine).with_variables(HEAT_KUBELET_MANIFESTS=str(guest.root / "manifests"))


def pod(config: Any = POD, **more: Any) -> dict[str, Any]:
    return deployment("kubelet", config, ID, **{"options": IN_TIME, **more})


def test_a_pod_that_runs_is_found(here: Guest, engine: Engine) -> None:
    engine.call("run", "--detach", "--name", NAME, IMAGE, *FOREVER)

    reply = here.hook(pod())

    assert 0 == reply["deploy_status_code"], reply
    assert "found containers: mariadb" in reply["deploy_stdout"]
    [manifest] = (here.root / "manifests").iterdir()
    assert (f"{ID}.json", POD) == (manifest.name, json.loads(manifest.read_text()))


def test_a_container_that_starts_later_is_waited_for(here: Guest, engine: Engine) -> None:
    hook = here.begin(pod())
    until((here.root / f"manifests/{ID}.json").exists, "the manifest")

    time.sleep(0.5)
    still_waiting = hook.poll() is None
    engine.call("run", "--detach", "--name", NAME, IMAGE, *FOREVER)

    assert still_waiting
    assert 0 == hook.wait(LONGEST_S)


def test_a_pod_of_today_is_known_by_its_name(here: Guest, engine: Engine) -> None:
    today = {"kind": "Pod", "metadata": {"name": "db"}, "spec": {"containers": POD["containers"]}}
    engine.call("run", "--detach", "--name", "k8s_mariadb_db-node_default_0123_0", IMAGE, *FOREVER)

    assert 0 == here.hook(pod(today))["deploy_status_code"]


@pytest.mark.parametrize(("image", "missing"), [("nothing", "no images nothing"), ("tiny:1", "no containers mariadb")])
def test_what_does_not_come_fails(here: Guest, engine: Engine, image: str, missing: str) -> None:
    waited = "images_timeout" if image == "nothing" else "containers_timeout"

    reply = here.hook(pod({"containers": [{"name": "mariadb", "image": image}]}, options={**IN_TIME, waited: 1}))

    assert 124 == reply["deploy_status_code"]
    assert f"{missing} after 1 s; see the option" in reply["deploy_stderr"]


def test_the_timeout_of_the_deployment_ends_it_too(here: Guest, engine: Engine) -> None:
    reply = here.hook(pod({"containers": [{"name": "a", "image": "nothing"}]}, options={"timeout": 1}))

    assert 124 == reply["deploy_status_code"]
    assert "see the deployment's option timeout" in reply["deploy_stderr"]


@pytest.mark.parametrize(
    ("config", "options", "says"),
    [
        ({"containers": [{"name": "a"}]}, {}, "no name or no image"),
        ({"containers": "x"}, {}, "no name or no image"),
        (POD, {"memory": "1G"}, "its group does not know memory, remove it: the kubelet starts the containers"),
        (POD, {"poll_period": "often"}, "its option poll_period is no number"),
        ("{", {}, "neither JSON nor YAML"),
    ],
)
def test_what_cannot_be_is_refused(here: Guest, engine: Engine, config: Any, options: Any, says: str) -> None:
    reply = here.hook(pod(config, options=options))

    assert 65 == reply["deploy_status_code"]
    assert says in reply["deploy_stderr"]
    assert not (here.root / "manifests").exists()


def test_delete_takes_the_manifest_away(here: Guest, engine: Engine) -> None:
    here.sync("kubelet", pod())

    reply = here.hook(pod(inputs={"deploy_action": "DELETE"}))

    assert 0 == reply["deploy_status_code"]
    assert [] == list((here.root / "manifests").iterdir())


@pytest.mark.parametrize("text", ["", "{oops", "[1]"])
def test_sync_keeps_the_manifests_while_nobody_can_say_what_is_listed(here: Guest, text: str) -> None:
    here.sync("kubelet", pod())
    (here.root / "unreadable").write_text(text)

    here.with_variables(HEAT_SHELL_CONFIG=str(here.root / "unreadable")).sync("kubelet")

    assert [f"{ID}.json"] == [path.name for path in (here.root / "manifests").iterdir()]


def test_a_missing_engine_is_named(guest: Guest, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    reply = guest.with_variables(PATH=str(empty)).hook(pod())

    assert 127 == reply["deploy_status_code"]
    assert "neither docker nor podman" in reply["deploy_stderr"]
