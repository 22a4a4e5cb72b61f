"""As the owner of a guest: make a key, sign a config, write a policy, and see what runs."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.waiting import LONGEST_S

Agent = Callable[..., subprocess.CompletedProcess[str]]
SCRIPT = "#!/bin/sh\necho ran > {file}\n"


@pytest.fixture
def agent(agent_command: list[str], environment: dict[str, str], root: Path) -> Agent:
    def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
        command = [*agent_command, *map(str, words), "--root", str(root)]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=LONGEST_S)

    return run


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The properties of a software config in a file."""
    path = tmp_path / "web.yaml"
    text = SCRIPT.format(file=tmp_path / "ran")
    path.write_text(yaml.safe_dump({"group": "script", "config": text, "inputs": [{"name": "port"}]}))
    return path


@pytest.fixture
def key(agent: Agent, tmp_path: Path) -> Path:
    path = tmp_path / "release.pem"
    assert 0 == agent("keygen", path).returncode
    return path


def allow(root: Path, **rules: Any) -> Path:
    """Write the guest's policy."""
    path = root / "etc/os-deploy-agent/policy.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"version": 1, **rules}))
    path.chmod(0o644)
    return path


def allow_signed(agent: Agent, root: Path, tmp_path: Path) -> Path:
    """A policy that wants signatures of a new key, which is at the path returned."""
    path = tmp_path / "owner.pem"
    return_signer = yaml.safe_load(agent("keygen", path).stdout)
    allow(root, signature_required=True, signers=return_signer)
    return path


def offer(root: Path, config: Path, **options: Any) -> Path:
    """Put the config into the guest's metadata, as a deployment."""
    element = {"id": "d1", "name": "web", **yaml.safe_load(config.read_text()), "outputs": []}
    element["inputs"] = [{"name": "port", "type": "String", "value": "80"}]
    element["options"] = options
    path = root / "var/lib/os-collect-config/local-data/web.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"deployments": [element]}))
    return path


def refused(root: Path) -> str:
    """What the stored outcome says, which is one of refusal."""
    outcome = json.loads((root / "var/lib/heat-config/deployed/d1.notify.json").read_text())
    assert 126 == outcome["deploy_status_code"], outcome
    return str(outcome["deploy_stderr"])


def test_a_signed_config_runs_where_signatures_are_wanted(
    agent: Agent, root: Path, tmp_path: Path, config: Path
) -> None:
    key = allow_signed(agent, root, tmp_path)
    printed = agent("sign", config, "--key", key, "--pin", "port=80")
    offer(root, config, **yaml.safe_load(printed.stdout)["options"])

    done = agent("--once")

    assert 0 == done.returncode, done.stderr
    assert (tmp_path / "ran").exists()


def test_without_a_signature_nothing_runs_and_the_outcome_names_the_rule(
    agent: Agent, root: Path, tmp_path: Path, config: Path
) -> None:
    allow_signed(agent, root, tmp_path)
    offer(root, config)

    done = agent("--once")

    assert 1 == done.returncode, done.stderr
    assert "rule signature_required: it carries no signature; agent sign makes one" in refused(root)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("text", "mode", "why"),
    [
        ("version: 1\n", 0o666, "may be written by others (mode 0666); chmod go-w"),
        ("version: 1\ngroup: [script]\n", 0o644, "unknown rule group; known are"),
        ("version: 1\ngroups: [script]\ngroups: [ansible]\n", 0o644, "a key stands twice"),
        ("version: 1\n? [groups]\n: [script]\n", 0o644, "line 2: a key is no plain word"),
        ("{", 0o644, "nor YAML"),
    ],
)
def test_a_policy_that_cannot_be_relied_on_lets_nothing_run(
    agent: Agent, root: Path, tmp_path: Path, config: Path, text: str, mode: int, why: str
) -> None:
    path = allow(root)
    path.write_text(text)
    path.chmod(mode)
    offer(root, config)

    done = agent("--once")

    assert 1 == done.returncode, done.stderr
    assert why in refused(root)
    assert not (tmp_path / "ran").exists()


def test_without_a_policy_everything_runs(agent: Agent, root: Path, tmp_path: Path, config: Path) -> None:
    offer(root, config)

    done = agent("--once")

    assert 0 == done.returncode, done.stderr
    assert (tmp_path / "ran").exists()


def test_policy_check_explains_and_runs_nothing(agent: Agent, root: Path, tmp_path: Path, config: Path) -> None:
    allow(root, groups=["ansible"])
    metadata = offer(root, config)

    done = agent("policy", "check", metadata)
    flags_first = agent("policy", "check", "--root", root, metadata)

    assert 1 == done.returncode, done.stderr
    assert "web: refused by rule groups: group 'script' is not among ansible" in done.stdout
    assert done.stdout == flags_first.stdout
    assert not (tmp_path / "ran").exists()


def test_verify_tells_whose_signature_a_template_carries(agent: Agent, key: Path, tmp_path: Path, config: Path) -> None:
    public = yaml.safe_load(agent("keygen", tmp_path / "other.pem").stdout)[0]["key"]
    properties = yaml.safe_load(config.read_text())
    properties |= yaml.safe_load(agent("sign", config, "--key", key, "--purpose", "production").stdout)
    template = tmp_path / "stack.yaml"
    resource = {"type": "OS::Heat::SoftwareConfig", "properties": properties}
    template.write_text(yaml.safe_dump({"resources": {"web": resource}}))
    signature = properties["options"]["signature"]

    done = agent("verify", template, "--public", public)

    assert (1, f"nobody among signers has the key {signature['key']}") == (
        done.returncode,
        done.stdout.strip().partition("web: ")[2],
    )


def test_a_template_with_a_pinned_value_is_verified_with_that_value(agent: Agent, tmp_path: Path, config: Path) -> None:
    public = yaml.safe_load(agent("keygen", tmp_path / "own.pem").stdout)[0]["key"]
    properties = yaml.safe_load(config.read_text())
    printed = agent("sign", config, "--key", tmp_path / "own.pem", "--pin", "port=80").stdout
    config.write_text(yaml.safe_dump(properties | yaml.safe_load(printed)))

    said = [
        agent("verify", config, "--public", public, *pin) for pin in ([], ["--pin", "port=81"], ["--pin", "port=80"])
    ]

    assert [1, 1, 0] == [done.returncode for done in said]
    assert "the value of port is pinned, and not in this file; add --pin port=VALUE" in said[0].stdout
    assert "does not fit" in said[1].stdout


def test_a_key_is_private_and_never_overwritten(agent: Agent, key: Path) -> None:
    before = key.read_bytes()

    done = agent("keygen", key)

    assert 77 == done.returncode
    assert (before, 0o600) == (key.read_bytes(), key.stat().st_mode & 0o777)
    assert "a key is never overwritten" in done.stderr


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"config": {"str_replace": {"template": "x"}}}, "Heat replaces str_replace on the way"),
        ({"config": {"get_file": "absent.sh"}}, "absent.sh: No such file"),
        ({"options": {"memory": 1.5}}, "the number 1.5 is not whole"),
    ],
)
def test_what_heat_would_change_is_not_signed(
    agent: Agent, key: Path, config: Path, change: dict[str, Any], why: str
) -> None:
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), **change}))

    done = agent("sign", config, "--key", key)

    assert (77, "") == (done.returncode, done.stdout)
    assert why in done.stderr


def test_a_hook_that_others_may_write_is_not_run(agent: Agent, root: Path, tmp_path: Path, config: Path) -> None:
    hook = root / "var/lib/heat-config/hooks/script"
    hook.parent.mkdir(parents=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    hook.chmod(0o777)
    offer(root, config)

    done = agent("--once")

    assert 1 == done.returncode, done.stderr
    assert f"{hook} may be written by others (mode 0777); chmod go-w {hook}" in refused(root)
    assert not (tmp_path / "ran").exists()


def test_settings_that_others_may_write_are_not_read(agent: Agent, root: Path) -> None:
    path = root / "etc/os-deploy-agent/agent.conf"
    path.parent.mkdir(parents=True)
    path.write_text("[DEFAULT]\n")
    path.chmod(0o666)

    done = agent("--once")

    assert 78 == done.returncode
    assert f"{path} may be written by others (mode 0666)" in done.stderr
