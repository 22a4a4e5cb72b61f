"""Containers of a deployment that left the metadata are removed, by its hook's `sync` in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.cleaning import KEY, PAUSE_S
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest, kill, opened, settle
from tests.waiting import LONGEST_S, until

QUICK = {"min_polling_interval": "0.05", "polling_interval": "0.1"}
DOCKER = Path(__file__).with_name("fake-docker")


@pytest.fixture
def containers(guest: Guest) -> Path:
    """The containers of the guest's engine, each a file."""
    made = guest.root / "containers"
    made.mkdir()
    return made


@pytest.fixture
def engine(guest: Guest, containers: Path) -> dict[str, str]:
    """Variables that give the guest an engine."""
    return {"HEAT_DOCKER_CMD": str(DOCKER), "FAKE": str(containers)}


def web(endpoint: Endpoint, id: str = "id-web", **more: Any) -> dict[str, Any]:
    return {**endpoint.script("web", {"web": {"image": "tiny"}}), "group": "docker-cmd", "id": id, **more}


def held(containers: Path) -> dict[str, str]:
    return {path.name: path.read_text().strip() for path in containers.iterdir()}


def calls(containers: Path, command: str) -> list[str]:
    lines = containers.with_name("containers.calls").read_text().splitlines()
    return [line for line in lines if line.startswith(command)]


def test_what_a_deployment_left_running_goes_with_it_and_that_is_done_once(
    guest: Guest, endpoint: Endpoint, containers: Path, engine: dict[str, str]
) -> None:
    endpoint.serve(web(endpoint), endpoint.script("other", "#!/bin/sh\ntrue"))
    guest.once(environment=engine)
    began = held(containers)
    endpoint.serve(endpoint.script("other", "#!/bin/sh\ntrue"))

    first = guest.once(environment=engine)
    asked = len(calls(containers, ""))
    guest.once(environment=engine)

    assert ({"web": "id-web"}, {}) == (began, held(containers))
    assert [["id-web"]] == [event["left"] for event in first.events("cleaned up")]
    assert asked == len(calls(containers, ""))


def test_a_replacement_begins_when_its_predecessor_s_containers_are_gone(
    guest: Guest, endpoint: Endpoint, containers: Path, engine: dict[str, str]
) -> None:
    endpoint.serve(web(endpoint))
    daemon = guest.start("run", environment=engine, max_parallel="3", **QUICK)
    until(lambda: endpoint.signals, "the first to be signalled")

    endpoint.serve(web(endpoint, "id-new"))

    until(lambda: len(endpoint.signals) == 2, "the second to be signalled")
    assert {"web": "id-new"} == held(containers)
    assert ["run", "rm", "run"] == [call.split()[0] for call in calls(containers, "r")]
    assert daemon.poll() is None


def test_nothing_is_removed_while_a_source_does_not_answer_or_says_what_nobody_understands(
    guest: Guest, endpoint: Endpoint, containers: Path, engine: dict[str, str]
) -> None:
    endpoint.serve(web(endpoint))
    guest.once(environment=engine)

    endpoint.serve("no deployment at all")
    guest.once(environment=engine)
    endpoint.metadata_status = 500
    guest.once(environment=engine)

    assert {"web": "id-web"} == held(containers)


def test_a_source_that_was_not_asked_yet_takes_nothing_away(
    guest: Guest, endpoint: Endpoint, containers: Path, engine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    began(guest, endpoint, engine)
    local = guest.root / "var/lib/os-collect-config/local-data"
    local.mkdir(parents=True)
    (local / "a.json").write_text('{"deployments": []}')
    _in(monkeypatch, engine)
    agent = opened(guest, collectors="request,local")

    agent.cycle(["request"])
    quiet = dict(agent.running)
    agent.cycle(["local"])

    assert {} == quiet
    settle(agent)
    assert {} == held(containers)


def test_a_source_that_is_not_asked_any_more_takes_nothing_away(
    guest: Guest, endpoint: Endpoint, containers: Path, engine: dict[str, str], tmp_path: Path
) -> None:
    began(guest, endpoint, engine)
    other = {"local_path": str(tmp_path)}
    (tmp_path / "a.json").write_text('{"deployments": []}')

    guest.once(environment=engine, request_metadata_url="")
    guest.once(environment=engine, collectors="local", **other)

    assert {"web": "id-web"} == held(containers)


def test_an_engine_that_fails_holds_nobody_up_and_is_asked_again(
    guest: Guest, endpoint: Endpoint, containers: Path, engine: dict[str, str]
) -> None:
    endpoint.serve(web(endpoint))
    guest.once(environment=engine)
    broken = containers.with_name("containers.broken")
    broken.touch()
    endpoint.serve(web(endpoint, "id-new"))

    ended = guest.once(environment=engine)
    said = (guest.root / f"var/log/os-deploy-agent/{KEY}.log").read_text()
    beside = held(containers)
    broken.unlink()
    guest.once(environment=engine)

    [event] = ended.events("containers are left over")
    assert PAUSE_S[0] == event["again_in_s"]
    assert f"{KEY}.log" == event["log"]
    assert "docker-cmd: the engine is out of order" in said
    assert ("id-web", 2) == (beside["web"], len(beside))
    assert {"web": "id-new"} == held(containers)


def test_the_next_try_comes_after_pauses_that_double(
    guest: Guest, endpoint: Endpoint, containers: Path, engine: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    began(guest, endpoint, engine)
    containers.with_name("containers.broken").touch()
    _in(monkeypatch, engine)
    now = [1000.0]
    agent = opened(guest, now)

    tries = []
    for at in (1000.0, 1059.0, 1060.0, 1179.0, 1180.0):
        now[0] = at
        agent.cycle()
        tries.append(KEY in agent.running)
        settle(agent)

    assert [True, False, True, False, True] == tries
    assert 1180.0 + 240.0 == agent.next_due()


@pytest.mark.parametrize("killed", ["agent", "both"])
def test_an_agent_killed_meanwhile_leaves_it_to_the_next(
    guest: Guest, endpoint: Endpoint, containers: Path, engine: dict[str, str], killed: str
) -> None:
    began(guest, endpoint, engine)
    stop = containers.with_name("containers.stop")
    stop.touch()
    daemon = guest.start("run", environment=engine, **QUICK)
    until(lambda: calls(containers, "rm"), "the removal to begin")
    kill([daemon.pid] if killed == "agent" else guest.processes())  # its rm too, which would remove the next one's
    daemon.wait(LONGEST_S)
    endpoint.serve(web(endpoint, "id-new"))
    polls = endpoint.polls
    guest.start("run", environment=engine, **QUICK)
    if killed == "agent":  # the one that goes on is waited for, and what it removes is not named by the new one
        until(lambda: endpoint.polls > polls + 2, "the next agent to look")
        assert {"web": "id-web"} == held(containers)

    stop.unlink()

    until(lambda: endpoint.signals, "the new one to be signalled")
    assert {"web": "id-new"} == held(containers)


def began(guest: Guest, endpoint: Endpoint, engine: dict[str, str]) -> None:
    """A guest whose one deployment has a container and has left."""
    endpoint.serve(web(endpoint))
    guest.once(environment=engine)
    endpoint.signals.clear()
    endpoint.serve()


def _in(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
