"""Any group with a program of its name in a hook directory: the deployment as JSON on stdin, the reply on stdout.

The contract is the old dispatcher's (heat-config's 55-heat-config): a JSON object on stdout is the signal as it stands;
anything else on stdout is plain output and the exit status decides.
"""

from __future__ import annotations

import json
from pathlib import Path

from agent import jsontext, model, ownership, parse
from agent.errors import MetadataError
from agent.hooks import workplace
from agent.hooks.workplace import Workplace
from agent.model import Deployment, JsonMap, Outcome

OPTIONS = None  # known to the program alone
REFUSES_USER = ""


def run(deployment: Deployment, place: Workplace, program: Path) -> Outcome:
    what = f"hook {program}"
    try:
        if others := ownership.writable_by_others(program):
            return Outcome(model.STATUS_REFUSED, "", f"{what} for '{deployment.name}' is not run: {others}\n")
        finished = workplace.run(
            place,
            deployment,
            [str(program)],
            variables={},
            stdin=json.dumps(parse.for_executable(deployment)).encode(),
            keep_stdout=workplace.REPLY_LIMIT,
            cwd=Path("/"),
        )
    except OSError as exc:
        message = f"{what} for '{deployment.name}' could not be started: {exc.strerror}; see its first line and mode\n"
        return Outcome(model.STATUS_NOT_FOUND, "", message)
    reply = None if finished.timed_out or finished.stdout.cut else _reply(finished.stdout.bytes(), what)
    if reply is None:
        return workplace.outcome(place, deployment, finished, what)
    if reply.get("deploy_status_code") is None:  # Heat would take that for success
        reply["deploy_status_code"] = finished.status
    return parse.outcome_from_body(reply)


def _reply(stdout: bytes, what: str) -> JsonMap | None:
    """The reply when it is a JSON object, else None: then it is plain output."""
    try:
        return jsontext.decode_map(stdout, f"the reply of {what}")
    except MetadataError:
        return None
