"""What `agent sync` answers without an engine: its exit statuses, as os-refresh-config sees them."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.containers.conftest import Guest, deployment

MANIFEST = {"containers": []}


@pytest.fixture
def bare(guest: Guest, tmp_path: Path) -> Guest:
    """A guest that has no engine."""
    empty = tmp_path / "empty"
    empty.mkdir()
    return guest.with_variables(PATH=str(empty))


def sync(guest: Guest, group: str) -> tuple[int, str]:
    done = subprocess.run(guest.command("sync", group), env=guest.environment, capture_output=True, text=True)
    return done.returncode, done.stderr


@pytest.mark.parametrize(("group", "status"), [("docker-cmd", 0), ("docker-compose", 1), ("kubelet", 1)])
def test_a_missing_list_is_said(bare: Guest, group: str, status: int) -> None:
    found, said = sync(bare, group)

    assert status == found
    assert f"agent sync {group}: no config file {bare.root}/heat-config" in said


@pytest.mark.parametrize(("group", "status"), [("docker-cmd", 0), ("docker-compose", 1), ("kubelet", 0)])
def test_a_list_that_is_none_is_said(bare: Guest, group: str, status: int) -> None:
    (bare.root / "heat-config").write_text('{"deployments": []}')

    found, said = sync(bare, group)

    assert status == found
    assert "a list is wanted" in said


@pytest.mark.parametrize("group", ["docker-cmd", "docker-compose", "kubelet"])
def test_an_empty_file_says_nothing_about_what_is_listed(bare: Guest, group: str) -> None:
    (bare.root / "heat-config").write_text("")

    assert (0, "") == sync(bare, group)


def test_a_group_that_has_nothing_to_sync_is_wrong_usage(bare: Guest) -> None:
    status, said = sync(bare, "script")

    assert 64 == status
    assert "docker-cmd, docker-compose, kubelet" in said


def test_a_guest_without_containers_needs_no_engine(bare: Guest) -> None:
    (bare.root / "heat-config").write_text("[]")

    assert [(0, "")] * 3 == [sync(bare, group) for group in ("docker-cmd", "docker-compose", "kubelet")]


def test_an_engine_that_is_named_and_not_there_is_said(bare: Guest) -> None:
    (bare.root / "heat-config").write_text("[]")

    status, said = sync(bare.with_variables(HEAT_DOCKER_CMD="no-such"), "docker-cmd")

    assert (0, "agent sync docker-cmd: HEAT_DOCKER_CMD names 'no-such', which is no program on PATH\n") == (
        status,
        said,
    )


def test_a_component_is_what_it_resolves_to(bare: Guest) -> None:
    pod = {"configs": [{"actions": ["CREATE"], "tool": "kubelet", "config": MANIFEST}]}
    listed = [
        deployment("component", pod, "one", inputs={"deploy_action": "CREATE"}),
        deployment("component", pod, "two", inputs={"deploy_action": "DELETE"}),
        deployment("kubelet", MANIFEST, "three", inputs={"deploy_action": "DELETE"}),
        deployment("kubelet", json.dumps(MANIFEST), "four"),
        deployment("kubelet", "{", "five"),
        deployment("script", MANIFEST, "six"),
    ]
    (bare.root / "heat-config").write_text(json.dumps(listed))

    status, said = sync(bare.with_variables(HEAT_KUBELET_MANIFESTS=str(bare.root / "pods")), "kubelet")

    assert ["four.json", "one.json"] == sorted(path.name for path in (bare.root / "pods").iterdir())
    assert 0 == status
    assert "the manifest of 'project' is not written: its config is neither JSON nor YAML" in said
