"""Group `chef`: the config is a run list; inputs are node attributes, outputs are files that recipes write.

The contract is heat-agents' hook-chef.py: optionally a kitchen is cloned, then chef-client runs in local mode with
`client.rb` and `node/<fqdn>.json` of the working directory.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from agent import jsontext
from agent.errors import MetadataError
from agent.hooks import reading, tools, workplace, writing
from agent.hooks.user import acting_as
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, Outcome

VARIABLE = "HEAT_CHEF_CMD"
ADVICE = f"chef-client is not on PATH; install chef, or name the program in {VARIABLE}"
GIT_VARIABLE = "HEAT_CHEF_GIT_CMD"
GIT_ADVICE = "git is not on PATH and its option kitchen wants a clone; install git"
NO_ATTRIBUTES = frozenset(
    {
        *("environment", "deploy_server_id", "deploy_action", "deploy_stack_id", "deploy_resource_name"),
        *("deploy_signal_transport", "deploy_signal_id", "deploy_signal_verb"),
    }
)
REFUSES_USER = ""
OPTIONS = frozenset({"kitchen", "kitchen_path"})
SETTINGS = ("log_level :debug", "log_location STDOUT", "local_mode true", "chef_zero.enabled true")


def run(deployment: Deployment, place: Workplace) -> Outcome:
    try:
        node = {**_attributes(deployment), "run_list": _run_list(deployment.config)}
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    command = tools.command(place, VARIABLE, "chef-client")
    if not command:
        return tools.missing_tool(place, deployment, VARIABLE, ADVICE)
    kitchen = place.working / (reading.option(deployment, "kitchen_path") or "kitchen")
    try:
        workplace.prepare(place, deployment)
        cloned, place = _clone(deployment, place, kitchen)
        if cloned.failed:
            return cloned
        fqdn = tools.host_name(place, deployment)
        if not fqdn or "/" in fqdn:
            return Outcome(1, "", f"chef for '{deployment.name}' was not run: `hostname -f` gives no name; set one\n")
        node_file = place.working / "node" / f"{fqdn}.json"
        client = place.working / "client.rb"
        with acting_as(place.user):
            node_file.parent.mkdir(mode=0o700, exist_ok=True)
            writing.write_file(node_file, json.dumps(node, indent=4, separators=(",", ": ")).encode(), 0o600)
            writing.write_file(client, _client(deployment, place, kitchen).encode("utf-8", "replace"), 0o600)
        finished = workplace.run(
            place,
            deployment,
            [*command, "-z", "--config", str(client), "-j", str(node_file)],
            variables={"heat_outputs_path": place.outputs_path(deployment)},
        )
    except OSError as exc:
        return tools.not_started(place, deployment, command[0], exc)
    return workplace.outcome(place, deployment, finished, "chef-client")


def _attributes(deployment: Deployment) -> dict[str, Json]:
    return {name: value for name, value in reading.input_values(deployment).items() if name not in NO_ATTRIBUTES}


def _run_list(config: Json) -> Json:
    """The run list; text holds it as JSON. Raises MetadataError."""
    run_list = config
    if isinstance(config, str):
        run_list = jsontext.decode(config.encode("utf-8", "replace"), "its config, a run list")
    if not isinstance(run_list, list) or not all(isinstance(item, str) for item in run_list):
        raise MetadataError('its config is no run list; it wants a JSON list of text, as ["recipe[apache]"]')
    return run_list


def _client(deployment: Deployment, place: Workplace, kitchen: Path) -> str:
    """client.rb, as the old hook wrote it."""
    paths = {f"{name}_path": str(kitchen / f"{name}s") for name in ("cookbook", "role", "environment")}
    if environment := deployment.inputs.get("environment"):
        paths["environment"] = jsontext.as_text(environment.value)
    paths["node_path"] = str(place.working / "node")
    return "\n".join([*SETTINGS, *(f"{name} '{_quoted(value)}'" for name, value in paths.items())])


def _quoted(value: str) -> str:
    """Inside single quotes, Ruby knows two escapes."""
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _clone(deployment: Deployment, place: Workplace, kitchen: Path) -> tuple[Outcome, Workplace]:
    """Clone the kitchen where one is asked for, anew on UPDATE; also the place with the time that is left."""
    source = reading.option(deployment, "kitchen")
    if not source:
        return Outcome(0), place
    if source.startswith("-") or place.working.resolve().is_relative_to(kitchen.resolve()):
        return reading.data_fault(deployment, "its options kitchen or kitchen_path are no URL and no own path"), place
    git = tools.command(place, GIT_VARIABLE, "git")
    if not git:
        return tools.missing_tool(place, deployment, GIT_VARIABLE, GIT_ADVICE), place
    if deployment.action == "UPDATE":
        with acting_as(place.user):
            shutil.rmtree(kitchen, ignore_errors=True)
    argv = [*git, "clone", source, str(kitchen)]
    finished = workplace.run(place, deployment, argv, variables={"GIT_TERMINAL_PROMPT": "0"})
    outcome = workplace.outcome(place, replace(deployment, outputs=()), finished, "git clone")
    return outcome, replace(place, timeout_s=max(place.timeout_s - finished.seconds, 0.1))
