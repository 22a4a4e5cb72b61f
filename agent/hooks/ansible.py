"""Group `ansible`: the config is a playbook; inputs are its variables, outputs are files it writes or stats it sets.

The contract is heat-agents' hook-ansible.py. ansible-runner reports the tasks as they end; it is imported by a process
of its own (`ansible_child.py`). Where it is not installed the playbook runs all the same, without progress and stats.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from agent import jsontext
from agent.errors import MetadataError
from agent.hooks import reading, tools, workplace, writing
from agent.hooks.user import acting_as
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, Outcome

VARIABLE = "HEAT_ANSIBLE_CMD"
INVENTORY = "localhost,"
OPTIONS = frozenset({"tags", "skip_tags", "modulepath", "callback_plugins", "inventory"})
REFUSES_USER = ""
PRIVATE = ("{key}_variables.json", ".{key}.runner")
CHILD = Path(__file__).with_name("ansible_child.py")
STATS_LIMIT = 16 << 20
ADVICE = f"ansible-playbook is not on PATH; install ansible-core, or name the program in {VARIABLE}"

# The child marks its progress lines, which are for the live log alone.
PROGRESS_MARK = b"\x1e"
_PROGRESS_LINE = re.compile(r"\x1e[^\n]*\n?")


def run(deployment: Deployment, place: Workplace) -> Outcome:
    playbook = _playbook(deployment.config)
    if not playbook.strip():
        return reading.data_fault(deployment, "its config is empty: there is no playbook")
    command = tools.command(place, VARIABLE, "ansible-playbook")
    if not command:
        return tools.missing_tool(place, deployment, VARIABLE, ADVICE)
    inventory = _inventory(deployment, place)
    book = place.working / f"{deployment.key}_playbook.yaml"
    variables = place.working / f"{deployment.key}_variables.json"
    private = place.working / f".{deployment.key}.runner"
    argv = [*command, "-i", inventory, *_arguments(deployment), str(book), "--extra-vars", f"@{variables}"]
    interpreter = tools.interpreter(command[0])
    try:
        workplace.prepare(place, deployment)
        argv = [*_child(place, interpreter, private), *argv]
        with acting_as(place.user):
            shutil.rmtree(private, ignore_errors=True)
            private.mkdir(mode=0o700)
            writing.write_file(book, playbook.encode("utf-8", "replace"), 0o600)
            writing.write_file(variables, json.dumps(_variables(deployment, place)).encode(), 0o600)
        finished = workplace.run(
            replace(place, log=_unmarked(place.log)),
            deployment,
            argv,
            variables=_environment(deployment, place, inventory, interpreter),
        )
        with acting_as(place.user):
            stats = _stats(private / "stats.json")
    except OSError as exc:
        return tools.not_started(place, deployment, command[0], exc)
    finally:  # they hold the inputs, and what the tasks returned
        with acting_as(place.user), suppress(OSError):
            shutil.rmtree(private, ignore_errors=True)
            variables.unlink()
    outcome = workplace.outcome(place, deployment, finished, "ansible-playbook")
    declared = {output.name: stats[output.name] for output in deployment.outputs if output.name in stats}
    return replace(
        outcome, stdout=_PROGRESS_LINE.sub("", outcome.stdout or ""), outputs={**declared, **outcome.outputs}
    )


def _playbook(config: Json) -> str:
    """The playbook as text; a config that is a list of plays is JSON, which is YAML, too."""
    if isinstance(config, list) and config:
        return json.dumps(config, indent=2)
    return json.dumps([config], indent=2) if isinstance(config, dict) and config else jsontext.as_text(config or "")


def _arguments(deployment: Deployment) -> list[str]:
    arguments = []
    for name, flag, joint in (
        ("modulepath", "--module-path", ":"),
        ("skip_tags", "--skip-tags", ","),
        ("tags", "--tags", ","),
    ):
        if value := reading.option(deployment, name, joint):
            arguments += [flag, value]
    return arguments


def _inventory(deployment: Deployment, place: Workplace) -> str:
    named = reading.option(deployment, "inventory")
    return str(place.working / named) if named else place.environ.get("HEAT_ANSIBLE_INVENTORY") or INVENTORY


def _variables(deployment: Deployment, place: Workplace) -> dict[str, Json]:
    return {
        "heat_config_id": deployment.id,
        **reading.input_values(deployment),
        "heat_outputs_path": place.outputs_path(deployment),
    }


def _environment(deployment: Deployment, place: Workplace, inventory: str, interpreter: str) -> dict[str, str]:
    environ = place.environ
    variables = {"heat_outputs_path": place.outputs_path(deployment)}
    if inventory == INVENTORY and "ANSIBLE_PYTHON_INTERPRETER" not in environ:
        # Discovery is misled by the shims of version managers; what runs ansible can run its modules.
        variables["ANSIBLE_PYTHON_INTERPRETER"] = interpreter or ("auto_silent" if place.user else sys.executable)
    if plugins := reading.option(deployment, "callback_plugins", ":"):
        variables["ANSIBLE_CALLBACK_PLUGINS"] = plugins
    if not re.search("utf-?8", _locale(environ), re.IGNORECASE):
        variables["LC_ALL"] = "C.UTF-8"  # ansible refuses any other encoding
    return variables


def _locale(environ: Mapping[str, str]) -> str:
    return environ.get("LC_ALL") or environ.get("LC_CTYPE") or environ.get("LANG") or "C.UTF-8"


def _child(place: Workplace, interpreter: str, private: Path) -> list[str]:
    """How to start the process that imports ansible-runner; nothing where no Python may have it. Raises OSError."""
    ours = not place.user and find_spec("ansible_runner")  # another user need not be able to run our Python
    python = sys.executable if ours else interpreter
    return [python, "-I", tools.child(place, CHILD), str(private)] if python else []


def _unmarked(log: Callable[[bytes], object] | None) -> Callable[[bytes], object] | None:
    return None if log is None else lambda chunk: log(chunk.replace(PROGRESS_MARK, b""))


def _stats(path: Path) -> dict[str, Json]:
    """What set_stats set, if anything."""
    try:
        with path.open("rb") as file:
            return jsontext.decode_map(file.read(STATS_LIMIT), "what set_stats set")
    except (FileNotFoundError, MetadataError):
        return {}
