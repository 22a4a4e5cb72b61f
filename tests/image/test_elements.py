"""The elements by themselves: upstream's rules, upstream's names, what they would do on each distribution."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from shipping import image
from shipping.cache import CHECKOUT
from shipping.image import Plan
from tests.conftest import IN_CI, require
from tests.waiting import LONGEST_S

ELEMENTS = CHECKOUT / "dib-elements"
OURS = sorted(path.name for path in ELEMENTS.iterdir())
PHASE = re.compile(r"[a-z-]+\.d|bin|static")


@pytest.fixture(scope="session")
def builder() -> Path:
    """The programs of diskimage-builder."""
    try:
        return image.builder()
    except (OSError, subprocess.SubprocessError) as exc:
        require(IN_CI, f"no diskimage-builder: {exc}")
        raise


@pytest.fixture(scope="session")
def upstream(builder: Path) -> Path:
    """The elements that come with diskimage-builder."""
    [found] = builder.parent.glob("lib/python3*/site-packages/diskimage_builder/elements")
    return found


def hooks(elements: Path) -> set[tuple[str, str]]:
    """(phase, file name) of everything that a build puts into one tree with the files of other elements."""
    return {
        (path.parent.name, path.name)
        for path in elements.glob("*/*/*")
        if PHASE.fullmatch(path.parent.name) and path.name != "__pycache__"
    }


def test_upstreams_linter_passes(builder: Path) -> None:
    done = subprocess.run(
        [builder / "dib-lint"],
        cwd=CHECKOUT,
        env={"PATH": f"{builder}:{os.environ['PATH']}", "ELEMENTS_DIR": "dib-elements", "LIB_DIR": "dib-elements"},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS" in done.stdout


def test_no_file_takes_the_place_of_another_elements(upstream: Path) -> None:
    ours = hooks(ELEMENTS)

    assert len(ours) > 10
    assert set() == ours & hooks(upstream)
    assert len(ours) == len([path for path in ELEMENTS.glob("*/*/*") if PHASE.fullmatch(path.parent.name)])


@pytest.mark.parametrize("element", OURS)
def test_every_variable_of_an_element_is_in_its_readme(element: str) -> None:
    readme = (ELEMENTS / element / "README.rst").read_text()
    texts = [path.read_text() for path in (ELEMENTS / element).glob("environment.d/*")]
    declared = set(re.findall(r"export (DIB_\w+)=", "".join(texts)))

    assert set() == {name for name in declared if not re.search(rf"^{name}\n +:Required:", readme, re.MULTILINE)}


# upstream's element for a distribution, its release -> what ours install there
DISTRIBUTIONS = {
    ("debian-minimal", "bookworm"): ("dbus", "ansible-core", "puppet-agent", "docker.io"),
    ("ubuntu-minimal", "jammy"): ("dbus", "ansible-core", "puppet", "docker.io"),
    ("ubuntu-minimal", "noble"): ("dbus", "ansible-core", "puppet-agent", "docker.io"),
    ("rocky-container", "9"): ("dbus-broker", "ansible-core", "puppet", "podman podman-docker"),
    ("centos-minimal", "9-stream"): ("dbus-broker", "ansible-core", "puppet", "podman podman-docker"),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS, ids="-".join)
def test_a_dry_run_names_each_distributions_packages(
    distribution: tuple[str, str], tmp_path: Path, builder: Path
) -> None:
    element, release = distribution
    ours = ("os-deploy-agent-ansible", "os-deploy-agent-puppet", "os-deploy-agent-docker")

    told = image.render(Plan(tmp_path, (element, *ours), variables=(("DIB_RELEASE", release),)))

    of_debian = image.mirrors().get("DIB_DISTRIBUTION_MIRROR", "none")
    assert element == "debian-minimal" or f"DIB_DISTRIBUTION_MIRROR={of_debian}\n" not in told

    asked = ("os-deploy-agent-dbus", "ansible-core", "puppet-agent", "docker-engine")
    for package, name in zip(asked, DISTRIBUTIONS[distribution], strict=True):
        assert re.search(rf"^  install.d install {re.escape(name)}  [\w-]+: {package}$", told, re.MULTILINE), told
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["wheel", "source", "package"])
def test_a_dry_run_shows_the_scripts_of_the_install_type(kind: str, tmp_path: Path, builder: Path) -> None:
    plan = Plan(tmp_path, ("directory-root", "os-deploy-agent"), variables=(("DIB_INSTALLTYPE_os_deploy_agent", kind),))

    told = image.render(plan)

    shown = {other for other in ("wheel", "source") if f"install.d/10-os-deploy-agent-{other}  " in told}
    assert shown == {kind} - {"package"}
    assert (kind == "package") is ("install.d install os-deploy-agent  " in told)
    assert f"DIB_INSTALLTYPE_os_deploy_agent={kind}" in told


def test_the_old_elements_cannot_be_used_beside_the_one_that_replaces_them(tmp_path: Path, builder: Path) -> None:
    (tmp_path / "os-collect-config").mkdir()
    (tmp_path / "os-collect-config/element-deps").write_text("dpkg\n")
    paths = ":".join([*map(str, image.ELEMENTS), str(tmp_path)])
    elements = ("directory-root", "os-deploy-agent-compat", "os-collect-config")

    with pytest.raises(image.CannotBuild, match="os-collect-config"):
        image.render(Plan(tmp_path, elements, variables=(("ELEMENTS_PATH", paths),)))


def test_an_element_of_others_is_satisfied_by_the_one_that_replaces_the_old(tmp_path: Path, builder: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs/element-deps").write_text("heat-config\nos-apply-config\nos-refresh-config\n")
    paths = ":".join([*map(str, image.ELEMENTS), str(tmp_path)])

    told = image.render(
        Plan(tmp_path, ("directory-root", "os-deploy-agent-compat", "theirs"), variables=(("ELEMENTS_PATH", paths),))
    )

    assert f"  theirs  {tmp_path}/theirs\n" in told
