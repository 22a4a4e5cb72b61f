"""A deployment fails: Heat learns that, and why."""

import pytest

from tests.e2e.cloud import Heat, Stack
from tests.e2e.conftest import Launcher
from tests.e2e.guest import Guest
from tests.e2e.transports import CFN, CROSSED, HEAT, Transports

EXITS_3 = """#!/bin/sh
echo run >> "$runs"
echo "no space on the far side of the moon" >&2
exit 3
"""
NAMES_A_PROBLEM = """#!/bin/sh
printf 'no disk' > "$heat_outputs_path.problem"
"""


@pytest.mark.parametrize("transports", [HEAT, CFN, *CROSSED], ids=str)
def test_the_status_and_stderr_of_a_failing_script_reach_the_owner(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    stack = launch("script.yaml", **transports.parameters, script=EXITS_3)
    heat.wait_offered(stack, "hello")

    done = guest.once()

    assert 1 == done.returncode, done.stderr
    assert "non-zero status code: 3" in heat.wait(stack, "CREATE_FAILED").reason
    deployment = heat.deployment(stack, "deployment")
    assert "FAILED" == deployment["status"]
    assert "no space on the far side of the moon" in deployment["output_values"]["deploy_stderr"]
    assert ["run"] == guest.ran()


def test_an_error_output_fails_the_stack_whatever_the_status(heat: Heat, guest: Guest, launch: Launcher) -> None:
    stack = launch("script.yaml", **HEAT.parameters, script=NAMES_A_PROBLEM)
    heat.wait_offered(stack, "hello")

    done = guest.once()

    assert 1 == done.returncode, done.stderr
    assert "no disk" in heat.wait(stack, "CREATE_FAILED").reason


@pytest.mark.parametrize("transports", [HEAT, CFN], ids=str)
def test_a_group_without_a_hook_fails_at_once_when_there_is_no_later(
    heat: Heat, guest: Guest, launch: Launcher, transports: Transports
) -> None:
    stack = launch("script.yaml", **transports.parameters, group="cobol")
    heat.wait_offered(stack, "hello")

    done = guest.once()

    assert 1 == done.returncode, done.stderr
    says_what_is_missing(heat, stack)


def test_a_group_without_a_hook_fails_after_the_grace(heat: Heat, guest: Guest, launch: Launcher) -> None:
    guest.configure(hook_grace=2, polling_interval=1)
    stack = launch("script.yaml", **HEAT.parameters, group="cobol")
    heat.wait_offered(stack, "hello")

    with guest.daemon():
        heat.wait(stack, "CREATE_FAILED")

    says_what_is_missing(heat, stack)


def test_a_hook_that_arrives_within_the_grace_is_used(heat: Heat, guest: Guest, launch: Launcher) -> None:
    guest.configure(hook_grace=600, polling_interval=1)
    stack = launch("script.yaml", **HEAT.parameters, group="cobol")
    heat.wait_offered(stack, "hello")
    hook = guest.root / "var/lib/heat-config/hooks/cobol"
    answer = '{"greeting": "HELLO", "deploy_stdout": "", "deploy_stderr": "", "deploy_status_code": 0}'

    with guest.daemon():
        guest.wait_logged("cobol")
        hook.parent.mkdir(parents=True, exist_ok=True)
        half = guest.root / "half-a-hook"
        half.write_text(f"#!/bin/sh\ncat > /dev/null\necho '{answer}'\n")
        half.chmod(0o755)
        half.rename(hook)
        heat.wait(stack, "CREATE_COMPLETE")

    assert "HELLO" == heat.outputs(stack)["greeting"]


def says_what_is_missing(heat: Heat, stack: Stack) -> None:
    """The owner reads which group is at fault and where its hook belongs."""
    assert "non-zero status code: 127" in heat.wait(stack, "CREATE_FAILED").reason
    stderr = heat.deployment(stack, "deployment")["output_values"]["deploy_stderr"]
    assert "cobol" in stderr
    assert "install" in stderr
    assert "heat-config/hooks" in stderr
