"""Group `salt`: the config is a state file; inputs are salt options, outputs are files that states write.

The contract is heat-agents' hook-salt.py: `state.sls` in masterless mode, with the working directory as file root. salt
is a library of whatever Python `salt-call` is a script of; a process of its own imports it (`salt_child.py`).
"""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path

from agent import jsontext
from agent.hooks import reading, tools, workplace, writing
from agent.hooks.user import acting_as
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, Outcome

VARIABLE = "HEAT_SALT_CMD"
ADVICE = f"salt-call is not on PATH; install salt-minion, or name salt-call in {VARIABLE}"
MINION_CONFIG = "/etc/salt/minion"
REFUSES_USER = ""
CHILD = Path(__file__).with_name("salt_child.py")


def run(deployment: Deployment, place: Workplace) -> Outcome:
    state = _state(deployment.config)
    if not state.strip():
        return reading.data_fault(deployment, "its config is empty: there is no state")
    command = tools.command(place, VARIABLE, "salt-call")
    python = tools.interpreter(command[0]) if command else ""
    if command and not python:
        return reading.data_fault(deployment, f"{command[0]} is no Python script; name salt-call in {VARIABLE}")
    if not python and not place.environ.get(VARIABLE) and not place.user and find_spec("salt"):
        python = sys.executable
    if not python:
        return tools.missing_tool(place, deployment, VARIABLE, ADVICE)
    wanted = {
        "minion_config": str(place.path("SALT_MINION_CONFIG", MINION_CONFIG)),
        "working": str(place.working),
        "state": deployment.key,
        "options": reading.input_values(deployment),
        "heat_outputs_path": place.outputs_path(deployment),
        "own": str(place.working / "minion") if place.user else "",
    }
    try:
        workplace.prepare(place, deployment)
        with acting_as(place.user):
            writing.write_file(place.working / f"{deployment.key}.sls", state.encode("utf-8", "replace"), 0o700)
        finished = workplace.run(
            place,
            deployment,
            [python, "-I", tools.child(place, CHILD)],
            variables={"heat_outputs_path": place.outputs_path(deployment)},
            stdin=json.dumps(wanted).encode(),
        )
    except OSError as exc:
        return tools.not_started(place, deployment, python, exc)
    outcome = workplace.outcome(place, deployment, finished, "salt")
    if not outcome.failed:
        return Outcome(0, outcome.stdout, None, outcome.outputs)  # what salt logged is in the live log
    result = finished.stdout.text()
    return Outcome(outcome.status, None, f"{outcome.stderr or ''}{result}", outcome.outputs)


def _state(config: Json) -> str:
    """The state file as text; a map becomes YAML in its own order, which is the order of its states."""
    if not isinstance(config, (dict, list)) or not config:
        return jsontext.as_text(config or "")
    import yaml  # noqa: PLC0415 - heavy

    class Dumper(yaml.SafeDumper):
        """Leaves the quotes of Jinja inside a text as they are; doubled ones would be a syntax error there."""

    def represent(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
        style = '"' if "'" in text and '"' not in text else None
        return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)

    Dumper.add_representer(str, represent)
    return yaml.dump(
        config, Dumper=Dumper, default_flow_style=False, sort_keys=False, allow_unicode=True, width=sys.maxsize
    )
