"""A tool that the guest does not have and the agent is: the hook calls the agent's own door."""

import json
import subprocess
from pathlib import Path

from tests.waiting import LONGEST_S


def test_apply_config_renders_with_our_own_os_apply_config(
    tmp_path: Path, agent_command: list[str], environment: dict[str, str]
) -> None:
    out = tmp_path / "rendered"
    template = tmp_path / "templates" / str(out).lstrip("/")
    template.parent.mkdir(parents=True)
    template.write_text("hello {{name}}")
    metadata = tmp_path / "metadata.json"
    metadata.write_text('{"name": "world"}')
    own = {"PATH": str(tmp_path), "OS_CONFIG_FILES": str(metadata)}
    own["OS_CONFIG_APPLIER_TEMPLATES"] = str(tmp_path / "templates")

    done = subprocess.run(
        [*agent_command, "hook", "apply-config"],
        env={**environment, **own},
        input=b'{"id": "a1", "group": "apply-config"}',
        capture_output=True,
        timeout=LONGEST_S,
    )

    assert 0 == json.loads(done.stdout)["deploy_status_code"], done
    assert "hello world" == out.read_text()
