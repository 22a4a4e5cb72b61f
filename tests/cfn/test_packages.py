"""Packages: each manager is called as its users would call it, with versions; recorded by stand-ins on PATH."""

from pathlib import Path

import pytest

from tests.cfn.conftest import PATH, Door, document

# what the stand-ins answer where they are asked: rpm knows nothing unless its line is in `installed`
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >> {calls}
case "$(basename "$0") $1" in "rpm -q") grep -qxF -e "$2" {installed} || exit 1 ;; esac
case "$(basename "$0") $*" in "rpm -q --queryformat "*) echo "{present}" ;; esac
exit 0
"""
PROGRAMS = (
    *("apt-get", "dpkg", "dnf", "yum", "rpm", "zypper", "pip3", "gem", "npm", "easy_install"),
    "systemctl",
)


class Guest:
    """A guest whose package managers only write down how they are called."""

    def __init__(self, scratch: Path, door: Door) -> None:
        self.scratch, self.door = scratch, door
        self.installed = scratch / "installed"
        self.installed.touch()

    def has(self, *programs: str, present: str = "") -> None:
        (self.scratch / "bin").mkdir()
        for name in programs:
            path = self.scratch / "bin" / name
            path.write_text(STAND_IN.format(calls=self.scratch / "calls", installed=self.installed, present=present))
            path.chmod(0o755)

    def install(self, **packages: object) -> list[str]:
        """The calls that this takes."""
        metadata = document(self.scratch / "m.json", packages=packages)
        answer = self.door("cfn-init", metadata, path=f"{self.scratch}/bin:{PATH}")
        assert 0 == answer.returncode, answer.stderr
        return (self.scratch / "calls").read_text().splitlines()


@pytest.fixture
def guest(tmp_path: Path, door: Door) -> Guest:
    return Guest(tmp_path, door)


@pytest.mark.parametrize(
    ("manager", "asked", "calls"),
    [
        ("apt", {"web": [], "db": ["1.9-1", "1.10-1"]}, ["apt-get -y install web db=1.10-1"]),
        ("dpkg", {"web": "/srv/web.deb"}, ["dpkg -i /srv/web.deb"]),
        ("rpm", {"web": "http://h/web.rpm"}, ["rpm -U --replacepkgs http://h/web.rpm"]),
        ("pip", {"web": [], "db": ["1.2", "1.10"]}, ["pip3 install web", "pip3 install db==1.10"]),
        ("python", {"web": ["1.2"]}, ["easy_install web==1.2"]),
        ("gem", {"web": [], "db": "2.0"}, ["gem install -b web", "gem install -b --version 2.0 db"]),
        ("rubygems", {"web": "2.0"}, ["gem install -b --version 2.0 web"]),
        ("npm", {"web": [], "@s/db": "3"}, ["npm install -g web", "npm install -g @s/db@3"]),
    ],
)
def test_a_manager_is_called_with_the_newest_version(
    guest: Guest, manager: str, asked: dict[str, object], calls: list[str]
) -> None:
    guest.has(*PROGRAMS)

    assert calls == guest.install(**{manager: asked})


@pytest.mark.parametrize(
    ("manager", "looked", "installed"),
    [
        ("yum", "yum -y --showduplicates list available", "yum -y install"),
        ("dnf", "dnf -y --showduplicates list available", "dnf -y --best install"),
        ("zypper", "zypper -n --no-refresh search", "zypper -n install"),
    ],
)
def test_a_manager_of_rpms_installs_what_is_missing_at_once(
    guest: Guest, manager: str, looked: str, installed: str
) -> None:
    guest.has(*PROGRAMS)
    guest.installed.write_text("there\n")

    calls = guest.install(**{manager: {"there": [], "web": [], "db": ["1.2"]}})

    assert [f"{looked} web", f"{looked} db-1.2"] == [call for call in calls if call.startswith(looked)]
    assert f"{installed} web db-1.2" == calls[-1]
    assert "rpm -q there" in calls


@pytest.mark.parametrize(
    ("manager", "downgrade"),
    [("yum", "yum -y downgrade"), ("dnf", "dnf -y downgrade"), ("zypper", "zypper -n install --oldpackage")],
)
def test_a_version_below_the_one_that_is_there_is_a_downgrade(guest: Guest, manager: str, downgrade: str) -> None:
    guest.has(*PROGRAMS, present="2.0-1")
    guest.installed.write_text("--queryformat\n")

    assert f"{downgrade} db-1.2" == guest.install(**{manager: {"db": ["1.2"]}})[-1]


def test_yum_is_dnf_where_there_is_no_yum(guest: Guest) -> None:
    guest.has("rpm", "dnf")
    (guest.scratch / "bin/which").write_text("#!/bin/sh\nexit 1\n")
    (guest.scratch / "bin/which").chmod(0o755)

    assert "dnf -y --best install web" == guest.install(yum={"web": []})[-1]


@pytest.mark.parametrize("manager", ["apt", "pip", "gem", "npm"])
def test_a_manager_that_fails_ends_the_run_with_its_last_words(guest: Guest, manager: str) -> None:
    guest.has()
    for name in ("apt-get", "pip3", "gem", "npm"):
        (guest.scratch / "bin" / name).write_text("#!/bin/sh\necho no such package >&2\nexit 100\n")
        (guest.scratch / "bin" / name).chmod(0o755)
    metadata = document(
        guest.scratch / "m.json",
        packages={manager: {"web": []}},
        commands={"after": {"command": f"touch {guest.scratch}/reached"}},
    )

    answer = guest.door("cfn-init", metadata, path=f"{guest.scratch}/bin:{PATH}")

    assert (1, False) == (answer.returncode, (guest.scratch / "reached").exists())
    assert f"installing web by {manager}" in answer.stderr
    assert "ended with 100\nno such package" in answer.stderr
