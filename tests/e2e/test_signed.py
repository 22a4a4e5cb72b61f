"""A guest whose owner wants signatures: what was signed runs as Heat delivers it, what was not is refused by name."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.e2e.cloud import TEMPLATES, Heat
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest, environment
from tests.e2e.transports import CFN, HEAT, Transports
from tests.waiting import LONGEST_S

KINDS = {"script": ["--pin", "port=80"], "playbook": [], "files": [], "component": []}
HOOK = "#!/bin/sh\nprintf '{\"deploy_status_code\": 0}'\n"


def agent(*words: str | Path) -> str:
    """What the command line prints."""
    command = [sys.executable, "-m", "agent", *map(str, words)]
    return subprocess.run(
        command, env=environment(), capture_output=True, text=True, timeout=LONGEST_S, check=True
    ).stdout


@pytest.fixture
def key(guest: Guest, tmp_path: Path) -> Path:
    """A private key whose public half is in the guest's policy."""
    path = tmp_path / "release.pem"
    [signer] = yaml.safe_load(agent("keygen", path))
    policy = guest.root / "etc/os-deploy-agent/policy.yaml"
    policy.parent.mkdir(parents=True, exist_ok=True)
    policy.write_text(yaml.safe_dump({"version": 1, "signature_required": True, "signers": [signer]}))
    hook = guest.root / "var/lib/heat-config/hooks/ansible"
    hook.parent.mkdir(parents=True)
    hook.write_text(HOOK)
    hook.chmod(0o755)
    return path


@pytest.fixture
def signed(key: Path, tmp_path: Path) -> str:
    """The template with the printed options pasted into it."""
    template = yaml.safe_load((TEMPLATES / "signed.yaml").read_text())
    for name, flags in KINDS.items():
        printed = agent("sign", TEMPLATES / "signed.yaml", "--resource", name, "--key", key, *flags)
        template["resources"][name]["properties"] |= yaml.safe_load(printed)
    path = tmp_path / "signed.yaml"
    path.write_text(yaml.safe_dump(template, sort_keys=False, allow_unicode=True))
    return str(path)


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_each_kind_of_signed_config_arrives_as_it_was_signed(
    heat: Heat, guest: Guest, launch: Launcher, signed: str, transports: Transports
) -> None:
    stack = launch(signed, **transports.parameters)
    for name in KINDS:
        heat.wait_offered(stack, name)

    done = guest.once()

    assert 0 == done.returncode, done.stderr
    heat.wait(stack, "CREATE_COMPLETE")
    assert {"CREATE", "component"} == set(guest.ran())


@pytest.mark.usefixtures("key")
def test_an_unsigned_config_fails_its_stack_and_names_the_rule(heat: Heat, guest: Guest, launch: Launcher) -> None:
    stack = launch("script.yaml", **HEAT.parameters)
    heat.wait_offered(stack, "hello")

    done = guest.once()

    assert 1 == done.returncode, done.stderr
    heat.wait(stack, "CREATE_FAILED")
    stderr = heat.deployment(stack, "deployment")["output_values"]["deploy_stderr"]
    assert "policy.yaml: rule signature_required: it carries no signature" in stderr
    assert [] == guest.ran()
