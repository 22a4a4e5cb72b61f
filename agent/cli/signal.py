"""`agent signal ID`: tell Heat an outcome by hand: the stored one once more, or one of your own.

The agent sends it, on the way that every outcome goes.
"""

from __future__ import annotations

import argparse
import time

from agent import asked, byhand, masking, model
from agent.cli.main import given
from agent.errors import UsageError
from agent.model import Json, JsonMap, Outcome
from agent.settings import Settings
from agent.view import guest
from agent.view.find import find
from agent.view.guest import Known

WARNING = (
    "this is final: Heat takes the first outcome of a deployment and ignores all that follow, and with status 0 what "
    "depends on it goes on. Repeat with --yes if that is meant"
)
WAIT_S = 60.0
LOOK_S = 0.1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("deployment", metavar="ID", help="an id, a name, or the beginning of one")
    parser.add_argument("--status", type=int, help="an outcome of your own, 0 for success; default: the stored one")
    parser.add_argument("--reason", default="signalled by hand", help="its stderr (default: signalled by hand)")
    parser.add_argument("--set", metavar="NAME=VALUE", action="append", default=[], help="an output of it")
    parser.add_argument("--yes", action="store_true", help="yes, tell Heat")


def run(arguments: argparse.Namespace) -> int:
    """The exit status is 2 when the endpoint has not taken it yet."""
    settings = given(arguments).settings()
    seen = guest.read(settings, everything=True)
    known = find(arguments.deployment, seen.deployments)
    body = _body(arguments)
    _check(known, body)
    name = known.deployment.name
    told = (body or known.outcome).get("deploy_status_code")
    print(f"{name}: status {told} to {known.deployment.endpoint.transport or 'nobody'}, {_where(known)}")
    if not arguments.yes:
        raise UsageError(WARNING)
    asked_at = time.time()
    asked.put(known.entry.key, body, asked_at, seen.places)
    if not byhand.tell_agent(seen.places):
        print("no agent runs: the next agent run or agent --once signals it")
        return 0
    return _wait(known.entry.key, asked_at, settings)


def _check(known: Known, body: JsonMap | None) -> None:
    name = known.deployment.name
    if not known.listed:
        raise UsageError(
            f"'{name}' is listed by no source any more: its endpoint belongs to a newer deployment, which a signal "
            "would complete; nothing is to be done"
        )
    if known.entry.progress in (model.RUNNING, model.REBOOTING):
        raise UsageError(f"'{name}' is {known.entry.progress}; cancel it first (agent cancel), or wait for its end")
    if body is None and not known.outcome:
        raise UsageError(f"'{name}' has no outcome yet; give one: --status 0, or another number for a failure")
    gone = known.record.get("not_kept")
    if body is None and isinstance(gone, list) and gone:
        names = ", ".join(str(output) for output in gone)
        raise UsageError(
            f"the outcome of '{name}' was taken, and its secrets are not kept: {names}; give one of your own: --status"
        )


def _body(arguments: argparse.Namespace) -> JsonMap | None:
    if arguments.status is None:
        if arguments.set:
            raise UsageError("--set belongs to an outcome of your own: give --status as well")
        return None
    outputs: dict[str, Json] = {}
    for pair in arguments.set:
        name, equals, value = pair.partition("=")
        if not name or not equals:
            raise UsageError(f"--set {pair}: NAME=VALUE is wanted")
        outputs[name] = value
    return Outcome(arguments.status, "", f"{arguments.reason}\n", outputs).body()


def _where(known: Known) -> str:
    endpoint = known.deployment.endpoint
    return masking.text(endpoint.url or endpoint.resource_name or "no address")


def _wait(key: str, asked_at: float, settings: Settings) -> int:
    """Until the agent has tried: what came of it."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        [known] = [k for k in guest.read(settings, everything=True).deployments if k.entry.key == key]
        if known.record.get("requeued_at") == asked_at:
            if known.entry.progress == model.SIGNALLED:
                print("taken")
                return 0
            if known.entry.reason:
                print(masking.text(f"not taken: {known.entry.reason}"))
                return 2
        time.sleep(LOOK_S)
    print(f"not tried within {WAIT_S:.0f} s: its source has to answer first; see agent status")
    return 2
