"""Between the agent's wish for a unit and the unit's own life: whatever is stopped there, the hook runs once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.conftest import Boot
from tests.guest.guest import Guest
from tests.guest.machine import HOME, UNIT, give, outcome, until
from tests.guest.test_runs import begun, gated, open_gate, seen, units

HOLDS = "var/lib/os-deploy-agent"  # which agent and unit can write to
# Where a process can be held -> before which line of which file, all in the order in which they are passed.
POINTS = {
    "forked": ("agent/handover.py", "    from agent.systemd.bus import DONE  # noqa: PLC0415 - heavy, and"),
    "starting": ("agent/runner.py", "    taken = handover.take()\n"),
    "known": ("agent/runner.py", "    notify.notifier(os.environ).ready("),
    "heard": ("agent/handover.py", '    return "" if result == DONE else f"systemd'),
}
WAIT = """    open("/{0}/at-{1}", "w").close()
    while os.path.exists("/{0}/hold-{1}"):
        time.sleep(0.02)
"""
# As a package manager does it; the agent's files are gone until somebody has seen that.
EXCHANGE = f"""systemctl stop {UNIT}
mv /{HOME} /opt/exchanged
touch /root/exchanging
while [ -e /root/exchanging ]; do sleep 0.02; done
mv /opt/exchanged /{HOME}
systemctl start {UNIT}
"""


@pytest.fixture(scope="module")
def held(with_agent: Boot) -> Iterator[Guest]:
    """A guest whose agent is held wherever a file says so."""

    def with_holds(root: Path) -> None:
        for point, (file, line) in POINTS.items():
            program = root / HOME / file
            parts = program.read_text().split(line)
            assert len(parts) == 2, point
            program.write_text(f"{parts[0]}{WAIT.format(HOLDS, point)}{line}{parts[1]}")

    with with_agent(with_holds) as started:
        yield started


def hold(guest: Guest, point: str) -> None:
    (guest.root / HOLDS / f"at-{point}").unlink(missing_ok=True)
    (guest.root / HOLDS / f"hold-{point}").touch()


def reached(guest: Guest, point: str) -> None:
    until(guest, (guest.root / HOLDS / f"at-{point}").exists, f"somebody to be held at {point}")


def let_go(guest: Guest, point: str) -> None:
    (guest.root / HOLDS / f"hold-{point}").unlink()


@pytest.mark.parametrize("point", POINTS)
def test_an_upgrade_meanwhile_waits_until_nobody_needs_the_old_files(held: Guest, point: str) -> None:
    exchanging, key = held.root / "root/exchanging", f"upgrade-{point}"
    hold(held, point)
    give(held, gated(key))
    reached(held, point)

    held.ask("systemd-run", "--quiet", "--no-block", "sh", "-c", EXCHANGE)
    stopping = ("deactivating", "inactive")
    until(held, lambda: held.show(UNIT, "ActiveState") in stopping, "the agent to be told to stop")
    waited = not exchanging.exists()
    let_go(held, point)
    until(held, exchanging.exists, "the exchange")
    begun(held, key)
    exchanging.unlink()
    until(held, lambda: held.show(UNIT, "ActiveState") == "active", "the next agent")
    open_gate(held, key)

    assert waited
    assert (0, ["begin", "end"]) == (outcome(held, key)["deploy_status_code"], seen(held, key))


def test_a_unit_that_is_stopped_before_its_runner_lives_is_an_outcome_without_a_run(held: Guest) -> None:
    hold(held, "starting")
    give(held, gated("stopped"))
    reached(held, "starting")

    held.ask("systemctl", "stop", *units(held, "stopped"))
    let_go(held, "starting")

    found = outcome(held, "stopped")
    assert (126, []) == (found["deploy_status_code"], seen(held, "stopped"))
    assert "was not started: systemd's job for os-deploy-agent-run-stopped-" in found["deploy_stderr"]


def test_a_unit_goes_on_whose_job_is_cancelled(held: Guest) -> None:
    hold(held, "starting")
    give(held, gated("job"))
    reached(held, "starting")

    held.ask("systemctl", "cancel")
    let_go(held, "starting")
    begun(held, "job")
    told = (held.root / "var/lib/heat-config/deployed/job.notify.json").exists()
    open_gate(held, "job")

    assert not told
    assert (0, ["begin", "end"]) == (outcome(held, "job")["deploy_status_code"], seen(held, "job"))
