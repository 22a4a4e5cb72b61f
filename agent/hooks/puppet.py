"""Group `puppet`: the config is a manifest; inputs are facts or hiera data, outputs are files it writes.

The contract is heat-agents' hook-puppet.py: `puppet apply` with detailed exit codes, of which 0 (nothing to do) and 2
(changed) are success.
"""

from __future__ import annotations

import errno
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from agent import jsontext
from agent.hooks import reading, tools, workplace, writing
from agent.hooks.user import acting_as
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome
from agent.process import Finished

VARIABLE = "HEAT_PUPPET_CMD"
ADVICE = f"puppet is not on PATH; install puppet-agent, or name the program in {VARIABLE}"
LOG_DIRECTORY = "/var/run/heat-config/deployed"
HIERA_DIRECTORY = "/etc/puppet/hieradata"
DEBUG_LOG = "/var/log/puppet/heat-debug.log"
VERBOSE_LOG = "/var/log/puppet/heat-verbose.log"
SUCCESS = (0, 2)
REFUSES_USER = ""
OPTIONS = frozenset({"enable_facter", "enable_hiera", "modulepath", "tags", "enable_debug", "enable_verbose"})
ARGUMENT_LIMIT = 128 << 10  # MAX_ARG_STRLEN of Linux: one variable with its name
TOO_MUCH = "its inputs together are too large for facts; set enable_facter to false and enable_hiera to true"


def run(deployment: Deployment, place: Workplace) -> Outcome:
    config = deployment.config
    if not isinstance(config, str) or not config.strip():
        return reading.data_fault(deployment, "its config is empty or no text: there is no manifest")
    hiera = _enabled(deployment, "enable_hiera", otherwise=False)
    if hiera and ("/" in deployment.name or "\0" in deployment.name):
        return reading.data_fault(deployment, "its name cannot be part of a file name, and hiera data is named by it")
    if fault := _unfit(_facts(deployment, place, "")):
        return reading.data_fault(deployment, fault)
    command = tools.command(place, VARIABLE, "puppet")
    if not command:
        return tools.missing_tool(place, deployment, VARIABLE, ADVICE)
    manifest = place.working / f"{deployment.key}.pp"
    try:
        workplace.prepare(place, deployment)
        with acting_as(place.user):
            writing.write_file(manifest, config.encode("utf-8", "replace"), 0o700)
        if hiera:
            _write_hiera(deployment, place)
        facts = _facts(deployment, place, tools.host_name(place, deployment))
        argv = [*command, "apply", *_arguments(deployment, place), str(manifest)]
        finished = workplace.run(place, deployment, argv, variables=facts)
    except OSError as exc:
        if exc.errno == errno.E2BIG:
            return reading.data_fault(deployment, TOO_MUCH)
        return tools.not_started(place, deployment, command[0], exc)
    with suppress(OSError):  # a full disk costs these logs, not what puppet did
        _write_logs(deployment, place, finished)
    outcome = workplace.outcome(place, deployment, finished, "puppet")
    return replace(outcome, status=0) if outcome.status in SUCCESS else outcome


def _facts(deployment: Deployment, place: Workplace, fqdn: str) -> dict[str, str]:
    """The environment that facter reads facts from."""
    facts = {"FACTER_fqdn": fqdn} if fqdn else {}
    if _enabled(deployment, "enable_facter", otherwise=True):
        values = reading.input_values(deployment)
        facts |= {f"FACTER_{name}": jsontext.as_text(value) for name, value in values.items()}
    if _enabled(deployment, "enable_hiera", otherwise=False):
        facts["FACTER_deploy_config_name"] = deployment.name
    path = place.outputs_path(deployment)
    return {**facts, "FACTER_heat_outputs_path": path, "heat_outputs_path": path}


def _arguments(deployment: Deployment, place: Workplace) -> list[str]:
    arguments = ["--color", "false", "--detailed-exitcodes", "--logdest", "console"]
    if modulepath := reading.option(deployment, "modulepath", ":"):
        arguments += ["--modulepath", modulepath]
    if tags := reading.option(deployment, "tags"):
        arguments += ["--tags", tags]
    if _enabled(deployment, "enable_debug", otherwise=False):
        arguments += ["--debug", "--logdest", _log_file(place, DEBUG_LOG)]
    if _enabled(deployment, "enable_verbose", otherwise=False):
        arguments += ["--verbose", "--logdest", _log_file(place, VERBOSE_LOG)]
    return arguments


def _log_file(place: Workplace, usual: str) -> str:
    """Where puppet itself writes to: another user cannot write into root's logs."""
    return str(place.working / Path(usual).name) if place.user else usual


def _write_hiera(deployment: Deployment, place: Workplace) -> None:
    """The inputs as hiera data; puppet finds the file by the fact deploy_config_name. Raises OSError."""
    path = place.path("HEAT_PUPPET_HIERA_DATADIR", HIERA_DIRECTORY) / f"heat_config_{deployment.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    owner = place.user.owner if place.user else None
    writing.write_file(path, json.dumps(reading.input_values(deployment)).encode(), 0o600, owner)


def _write_logs(deployment: Deployment, place: Workplace, finished: Finished) -> None:
    """Both streams, as far as they were kept, under the names that the old hook gave them. Raises OSError."""
    directory = place.path("HEAT_PUPPET_LOGDIR", LOG_DIRECTORY)
    directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    created = re.sub("[:T]", "-", Path(deployment.creation_time).name) or "unknown"
    for name, kept in (("stdout", finished.stdout), ("stderr", finished.stderr)):
        writing.write_file(directory / f"{created}-{deployment.key}-{name}.log", kept.bytes(), 0o600)


def _enabled(deployment: Deployment, name: str, *, otherwise: bool) -> bool:
    """An option as a claim; what a parameter made text of (`"false"`, `"0"`) means what it says."""
    value = deployment.options.get(name)
    if isinstance(value, str):
        return value.strip().lower() not in {"", "0", "false", "no", "off"}
    return otherwise if value is None else bool(value)


def _unfit(variables: Mapping[str, str]) -> str:
    """Why these cannot be environment variables, "" when they can."""
    for name, value in variables.items():
        if "\0" in name + value or "=" in name:
            return f"input {name!r} holds a NUL or an = and cannot be an environment variable"
        try:
            size = len(f"{name}={value}".encode())
        except UnicodeEncodeError as exc:
            return f"input {name!r} is no valid Unicode text ({exc.reason})"
        if size >= ARGUMENT_LIMIT:
            return f"input {name!r} has {size} bytes and Linux takes {ARGUMENT_LIMIT} a variable; pass a URL or a file"
    return ""
