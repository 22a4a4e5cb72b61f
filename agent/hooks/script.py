"""Group `script`: the config is a program; inputs are its environment, outputs are files it writes.

The contract is heat-agents' hook-script.py: `<working>/<id>` is run in the working directory, and the file
`$heat_outputs_path.<name>` becomes an output. Maps, lists, numbers and booleans arrive as JSON, null as nothing.
"""

from __future__ import annotations

import errno

from agent import jsontext, model
from agent.hooks import tools, workplace, writing
from agent.hooks.user import acting_as
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome

OPTIONS: frozenset[str] = frozenset()
REFUSES_USER = ""
ARGUMENT_LIMIT = 128 << 10  # MAX_ARG_STRLEN of Linux: one variable with its name


def run(deployment: Deployment, place: Workplace) -> Outcome:
    config = deployment.config
    if not isinstance(config, str) or not config.strip():
        return _data_fault(deployment, "its config is empty or no text: there is nothing to run")
    try:
        script = config.encode()
        variables = {name: jsontext.as_text(known.value) for name, known in deployment.inputs.items()}
        for name, value in variables.items():
            f"{name}={value}".encode()
    except UnicodeEncodeError as exc:
        return _data_fault(deployment, f"its config or an input is no valid Unicode text ({exc.reason})")
    for name, value in variables.items():
        if "\0" in name + value or "=" in name:
            return _data_fault(deployment, f"input {name!r} holds a NUL or an = and cannot be an environment variable")
    path = place.working / deployment.key
    try:
        workplace.prepare(place, deployment)
        with acting_as(place.user):
            writing.write_file(path, script, 0o700)
        finished = workplace.run(
            place,
            deployment,
            [str(path)] if script.startswith(b"#!") else ["/bin/sh", str(path)],
            variables={**variables, "heat_outputs_path": place.outputs_path(deployment)},
        )
    except OSError as exc:
        if place.user and isinstance(exc, PermissionError):
            return tools.not_started(place, deployment, str(path), exc)
        return _not_started(deployment, exc, config, variables)
    return workplace.outcome(place, deployment, finished, "script")


def _data_fault(deployment: Deployment, why: str) -> Outcome:
    return Outcome(model.STATUS_DATA, "", f"script for '{deployment.name}' was not run: {why}\n")


def _not_started(deployment: Deployment, exc: OSError, config: str, variables: dict[str, str]) -> Outcome:
    if exc.errno == errno.E2BIG:
        name = max(variables, key=lambda name: len(variables[name].encode()))
        size = len(variables[name].encode())
        return _data_fault(
            deployment,
            f"its inputs are too large for an environment; input '{name}' alone has {size} bytes and Linux takes "
            f"{ARGUMENT_LIMIT} a variable; pass large data by URL or file",
        )
    first = config.splitlines()[0][:80]
    advice = {
        errno.ENOENT: f"its interpreter ({first}) is not on this guest; install it or correct the first line",
        errno.EACCES: f"no permission for {exc.filename}; is the file system mounted noexec, or {first} no program?",
    }.get(exc.errno or 0, f"{exc.strerror} ({exc.filename})")
    status = model.STATUS_NOT_FOUND if exc.errno == errno.ENOENT else model.STATUS_REFUSED
    return Outcome(status, "", f"script for '{deployment.name}' could not be started: {advice}\n")
