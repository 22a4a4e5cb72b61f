"""One course of everything: hooks and failures by one transport, and what somebody finds of the secrets on its way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.fakes import Peer, Reply
from tests.process.guest import Guest
from tests.trust import planted
from tests.trust.planted import PLANTED, deployment, door

DOCKER = Path(__file__).parent.parent / "process/fake-docker"
BACKWARDS = PLANTED["named output"][::-1]
FILES = {"files": {"/etc/placed": {"content": "x"}}}
INIT = {"AWS::CloudFormation::Init": {"config": {"commands": {"1": {"command": "true"}}}}}
MAKES = f"#!/bin/sh\nsleep 0.2\nprintf %s {BACKWARDS} | rev > $heat_outputs_path.admin_token\n"
REPLY = f'#!/bin/sh\ncat > /dev/null\nprintf \'{{"admin_token": "%s"}}\' $(printf %s {BACKWARDS} | rev)\n'
PLAY = json.dumps([{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{"ping": {}}]}])
HOOKS: dict[str, Any] = {
    "script": MAKES,
    "program": {},
    "json-file": {"/etc/placed.json": {"a": 1}},
    "hiera": {"datafiles": {"common": {"a": 1}}, "hierarchy": ["common"]},
    "files": FILES,
    "cfn-init": INIT,
    "apply-config": {},
    "docker-cmd": {"box": {"image": "x"}},
    "docker-compose": {"box": {"image": "x"}},
    "kubelet": {"version": "v1beta2", "id": "x"},
    "chef": [],
}
TOOLS: dict[str, Any] = {"ansible": PLAY, "salt": "x:\n  test.nop\n", "puppet": "notice('x')\n"}


def failing(peer: Peer, transport: str) -> list[dict[str, Any]]:
    """One deployment for each way to fail."""
    bad = deployment(peer, transport, "bad-input", "script", "#!/bin/sh\n")
    return [
        deployment(peer, transport, "fails", "script", "#!/bin/sh\necho no luck >&2\nexit 3\n"),
        deployment(peer, transport, "refused", "forbidden", "#!/bin/sh\n"),
        deployment(peer, transport, "late", "script", "#!/bin/sh\nexec sleep 600\n", timeout=0.3),
        deployment(peer, transport, "answered-500", "script", MAKES),
        deployment(peer, transport, "answered-401", "script", MAKES),
        {**bad, "inputs": [*bad["inputs"], {"name": "a password", "type": "Json", "value": PLANTED["named input"]}, 5]},
    ]


def serve(peer: Peer, transport: str, listed: list[dict[str, Any]]) -> None:
    peer.answers["/metadata.json"] = Reply(200, json.dumps({"deployments": listed}).encode())
    for each in listed:
        peer.answers[door(transport, each["name"])] = Reply(200, b"{}")
    for status in (500, 401):
        peer.answers[door(transport, f"answered-{status}")] = Reply(status, b"no")


def allow(guest: Guest, groups: list[str]) -> None:
    policy = guest.root / "etc/os-deploy-agent/policy.yaml"
    policy.write_text(json.dumps({"version": 1, "groups": groups}))
    policy.chmod(0o600)


def prepare(guest: Guest) -> dict[str, str]:
    """A hook directory with a program, and an engine of containers that only takes notes."""
    program = guest.root / "var/lib/heat-config/hooks/program"
    program.parent.mkdir(parents=True)
    program.write_text(REPLY)
    program.chmod(0o755)
    containers = guest.root / "containers"
    containers.mkdir()
    return {"HEAT_DOCKER_CMD": str(DOCKER), "FAKE": str(containers)}


def through(guest: Guest, peer: Peer, transport: str, hooks: dict[str, Any], environment: dict[str, str]) -> list[str]:
    """Everything runs, some of it is not taken at first; what somebody finds of it, before and after."""
    listed = [deployment(peer, transport, group, group, config) for group, config in hooks.items()]
    listed += failing(peer, transport)
    names = [each["name"] for each in listed]
    serve(peer, transport, listed)
    allow(guest, [*hooks, "script"])
    with planted.journald(guest.root) as journal, planted.watching(guest.mark) as watch:
        first = guest.once(environment=environment, timeout_s=240, once_patience="0.1")
        leaks = planted.found_in((first.stdout + first.stderr).encode(), "the log")
        shown = [name for name in names if name in ("program", "fails", "answered-401", "bad-input")]
        leaks += planted.views(guest, shown) + planted.readable_by_all(guest.root)
        for name in names:
            peer.answers[door(transport, name)] = Reply(200, b"{}")
        second = guest.once(environment=environment, timeout_s=240, once_patience="120")
        leaks += planted.found_in((second.stdout + second.stderr).encode(), "the log")
        leaks += planted.views(guest, []) + planted.readable_by_all(guest.root)
        leaks += planted.found_in(planted.said_to(journal), "systemd's journal")
    taken = {request.path for request in peer.requests}
    assert {door(transport, name) for name in names} <= taken, first.stderr + second.stderr
    assert set(guest.states().values()) == {"signalled"}, guest.states()
    leaks += planted.at_rest(guest)
    assert len(watch.seen) > 2
    return sorted({*leaks, *watch.leaks})
