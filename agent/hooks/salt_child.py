"""The process that imports salt: it applies one state file without a master and prints salt's answer as YAML.

    PYTHON -I salt_child.py < JSON

The salt hook starts it with the Python of salt-call, so it stands alone: the agent is not importable here. The inputs
become salt's options, as heat-agents has it, but for those that make it this run. States reach the prefix of output
files as `pillar['heat_outputs_path']`, `opts['heat_outputs_path']` and in the environment.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from typing import Any

OWN = ("cachedir", "extension_modules", "log_file", "pki_dir", "sock_dir")
STATUS_FAILED = 2  # as salt-call --retcode-passthrough has it


def main(wanted: dict[str, Any]) -> int:
    # States tell about themselves as they run: that is what can be followed live.
    logging.basicConfig(stream=sys.stderr, format="%(message)s", level=logging.WARNING)
    logging.getLogger("salt.state").setLevel(logging.INFO)
    options = import_module("salt.config").minion_config(wanted["minion_config"])
    pillar = {"heat_outputs_path": wanted["heat_outputs_path"]}
    if wanted["own"]:  # what the configuration names is root's
        options.update({name: f"{wanted['own']}/{name}" for name in OWN})
    options.update(wanted["options"])
    options.update(pillar)
    options.update(
        file_roots={"base": [wanted["working"]]},
        file_client="local",
        local=True,
        fun="state.sls",
        arg=[{"__kwarg__": True, "mods": [wanted["state"]], "pillar": pillar}],
    )
    answer = import_module("salt.cli.caller").Caller.factory(options).call()
    returned = answer.get("return")
    sys.stdout.write(as_yaml(returned))
    status = answer.get("retcode", STATUS_FAILED)
    return int(status) if status and not succeeded(returned) else 0


def succeeded(returned: Any) -> bool:
    """Whether every state did; salt's own status may speak of something else that it ran."""
    if not isinstance(returned, dict) or not returned:
        return False
    return all(isinstance(state, dict) and state.get("result") for state in returned.values())


def as_yaml(value: Any) -> str:
    text: str = import_module("yaml").safe_dump(json.loads(json.dumps(value, default=str)), default_flow_style=False)
    return text


if __name__ == "__main__":
    sys.exit(main(json.load(sys.stdin)))
