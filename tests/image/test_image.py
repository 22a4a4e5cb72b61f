"""What the built image holds, and what it does not: it is the pattern of many machines."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from shipping.cache import CHECKOUT
from tests.waiting import LONGEST_S

WANTS = "etc/systemd/system/multi-user.target.wants/os-deploy-agent.service"
VENV = "opt/os-deploy-agent"


def inside(image: Path, *command: str) -> str:
    """What a program prints with the image as its root; it must succeed, and writes nothing there."""
    done = subprocess.run(
        ["chroot", str(image), "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", *command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_agent_starts_from_an_environment_of_its_own(image: Path) -> None:
    assert "os-deploy-agent" in inside(image, "os-deploy-agent", "--version")

    prefix = inside(image, f"/{VENV}/bin/python", "-c", "import sys, yaml; print(sys.prefix, yaml.__file__)")
    assert prefix.startswith(f"/{VENV} /{VENV}/lib")


@pytest.mark.parametrize("module", ["requests", "structlog", "jinja2", "dbus_next", "cryptography", "websocket"])
def test_what_the_agent_may_import_is_there(module: str, image: Path) -> None:
    inside(image, f"/{VENV}/bin/python", "-c", f"import {module}")


def test_every_module_is_compiled(image: Path) -> None:
    [site] = (image / VENV).glob("lib/python3*/site-packages")
    modules = sorted((site / "agent").rglob("*.py"))

    assert len(modules) > 50
    assert [] == [module for module in modules if not list(module.parent.glob(f"__pycache__/{module.stem}.*.pyc"))]


def test_no_installer_and_no_trace_of_the_build_stay(image: Path) -> None:
    [site] = (image / VENV).glob("lib/python3*/site-packages")

    assert not {"pip", "setuptools", "wheel"} & {path.name for path in site.iterdir()}
    assert not list((image / "root").glob(".cache/pip"))
    assert not list((image / "tmp").iterdir())
    linked = [path for path in (image / VENV).rglob("*") if path.is_symlink()]
    assert {"/usr/bin/python3", "python3"} >= {str(path.readlink()) for path in linked if path.name != "lib64"}


def test_settings_are_for_root_alone(image: Path) -> None:
    settings = (image / "etc/os-deploy-agent/10-image.conf").stat()

    assert (0o600, 0, 0) == (stat.S_IMODE(settings.st_mode), settings.st_uid, settings.st_gid)


def test_the_unit_is_enabled(image: Path) -> None:
    assert "os-deploy-agent.service" == (image / WANTS).readlink().name
    for unit in (CHECKOUT / "systemd").iterdir():
        assert unit.read_bytes() == (image / "usr/lib/systemd/system" / unit.name).read_bytes()


def test_nothing_of_one_machine_is_in_it(image: Path) -> None:
    assert (image / "etc/machine-id").read_text() in {"", "uninitialized\n"}
    for name in ("os-deploy-agent", "heat-config/deployed", "heat-cfntools", "cloud/instance", "cloud/instances"):
        assert not list((image / "var/lib" / name).glob("*")), name
    assert not list((image / "etc/ssh").glob("*key*"))


def test_no_path_or_address_of_the_builder_is_in_it(image: Path) -> None:
    ours = [*(image / VENV).rglob("*"), *(image / "etc/os-deploy-agent").rglob("*"), *(image / "usr/local").rglob("*")]
    texts = [path for path in ours if path.is_file() and not path.is_symlink()]

    assert len(texts) > 100
    for known in (str(CHECKOUT), sys.prefix, str(Path.home() / ".cache")):
        assert [] == [path for path in texts if known.encode() in path.read_bytes()]


@pytest.mark.parametrize("name", ["os-collect-config", "os-apply-config", "os-refresh-config", "heat-config"])
def test_the_old_names_are_doors_of_the_agent(name: str, image: Path) -> None:
    assert Path(f"/{VENV}/bin/agent") == (image / "usr/local/bin" / name).readlink()


def test_trees_and_hooks_of_other_elements_are_where_the_old_commands_say(image: Path) -> None:
    templates = inside(image, "os-apply-config", "--print-templates").strip()
    scripts = inside(image, "os-refresh-config", "--print-base").strip()

    assert "motd of {{greeting}}\n" == (image / templates.lstrip("/") / "etc/motd").read_text()
    script = image / scripts.lstrip("/") / "configure.d/60-theirs"
    assert (0o755, 0) == (stat.S_IMODE(script.stat().st_mode), script.stat().st_uid)
    assert os.access(image / "var/lib/heat-config/hooks/theirs", os.X_OK)
    assert "os-deploy-agent" == inside(image, "svc-map", "os-collect-config").strip()
