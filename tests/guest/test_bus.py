"""What systemd is asked over D-Bus, and what it answers: the same with either library."""

import shutil
from pathlib import Path

import pytest

from tests.guest.conftest import Boot
from tests.guest.machine import HOME, write

UNITS = {
    "sleeps": "[Service]\nExecStart=/bin/sleep 1000\n[Install]\nWantedBy=multi-user.target\n",
    "fails": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
    "slow": "[Service]\nType=oneshot\nExecStart=/bin/sleep 1000\n",
}
ANSWERS = """done
UnitState(active='active', enabled='disabled')
done
done
failed
failed
Unavailable: StartUnit slow.service: systemd's job did not end within 0 s; see systemctl
Refused: asking systemd for StartUnit nothing.service: Unit nothing.service not found. \
(org.freedesktop.systemd1.NoSuchUnit)
UnitState(active='inactive', enabled='')
None
UnitState(active='inactive', enabled='enabled')
None
UnitState(active='inactive', enabled='disabled')"""


@pytest.mark.parametrize("library", ["dbus_next", "dbus_fast"])
def test_the_result_of_each_job_is_told(with_agent: Boot, library: str) -> None:
    def with_units(root: Path) -> None:
        for name, text in UNITS.items():
            write(root, f"etc/systemd/system/{name}.service", text)
        shutil.copy(Path(__file__).parent / "inside/ask_systemd.py", root / HOME / "ask_systemd.py")

    with with_agent(with_units, enable=False) as guest:
        assert ANSWERS == guest.ask("python3", f"/{HOME}/ask_systemd.py", library)


def test_a_bus_that_is_not_there_is_told_at_once(with_agent: Boot) -> None:
    def with_question(root: Path) -> None:
        shutil.copy(Path(__file__).parent / "inside/ask_systemd.py", root / HOME / "ask_systemd.py")

    with with_agent(with_question, enable=False) as guest:
        guest.ask("systemctl", "stop", "dbus.socket", "dbus.service")
        done = guest.run("python3", f"/{HOME}/ask_systemd.py", "dbus_next")

    assert "Unavailable: connecting to the system's D-Bus" in done.stderr
