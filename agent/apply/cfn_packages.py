"""Section packages: what is missing is installed, by the manager that the document names.

The calls are those of heat-cfntools, with versions, and with a look at how each ended.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import cmp_to_key
from pathlib import Path

from agent import urls
from agent.apply.cfn_model import APT, DNF, DPKG, GEM, NPM, PIP, PYTHON, RPM, RUBYGEMS, YUM, ZYPPER, Fetch, Package
from agent.apply.cfn_programs import INSTALL_S, Tell, ask, has, must
from agent.errors import ApplyError

DPKG_STATUS = Path("/var/lib/dpkg/status")
_WITHOUT_QUESTIONS = {"DEBIAN_FRONTEND": "noninteractive"}
_LIST = ("-y", "--showduplicates", "list", "available")


def install(packages: Iterable[Package], fetch: Fetch, tell: Tell) -> frozenset[tuple[str, str]]:
    """Install what is missing, manager by manager; (manager, name) of what was installed or changed."""
    changed: set[tuple[str, str]] = set()
    for manager, group in itertools.groupby(packages, key=lambda package: package.manager):
        names = _install(manager, tuple(group), fetch)
        tell(f"packages by {manager}: {', '.join(names) + ' installed' if names else 'all there'}")
        changed |= {(manager, name) for name in names}
    return frozenset(changed)


def _install(manager: str, packages: tuple[Package, ...], fetch: Fetch) -> tuple[str, ...]:
    match manager:
        case "apt":
            return _apt(packages)
        case "dpkg":
            return _dpkg(packages, fetch)
        case "rpm":
            files = [file for package in packages for file in package.versions]
            must(["rpm", "-U", "--replacepkgs", *files], _doing(RPM, packages), timeout_s=INSTALL_S)
            return tuple(package.name for package in packages)
        case "yum" | "dnf" | "zypper":
            return _rpm_like(manager, packages)
        case _:
            return _one_by_one(manager, packages)


def _doing(manager: str, packages: Iterable[Package]) -> str:
    return f"installing {', '.join(package.name for package in packages)} by {manager}"


# ---------------------------------------------------------------------------------------------- Debian


def _apt(packages: tuple[Package, ...]) -> tuple[str, ...]:
    there = installed_debs(DPKG_STATUS.read_text("utf-8", "replace") if DPKG_STATUS.exists() else "")
    due = [package for package in packages if not _is_there(package, there)]
    if due:
        wanted = [f"{package.name}={newest(package.versions)}" if package.versions else package.name for package in due]
        must(["apt-get", "-y", "install", *wanted], _doing(APT, due), timeout_s=INSTALL_S, extra=_WITHOUT_QUESTIONS)
    return tuple(package.name for package in due)


def _is_there(package: Package, there: dict[str, str]) -> bool:
    version = there.get(package.name.partition(":")[0])
    return version is not None and (not package.versions or version == newest(package.versions))


def installed_debs(status: str) -> dict[str, str]:
    """Name and version of what dpkg's status file calls installed."""
    found = {}
    for paragraph in status.split("\n\n"):
        fields = dict(re.findall(r"^(Package|Status|Version): (.*)$", paragraph, re.MULTILINE))
        if fields.get("Status", "").split()[-1:] == ["installed"] and "Package" in fields:
            found[fields["Package"]] = fields.get("Version", "")
    return found


def _dpkg(packages: tuple[Package, ...], fetch: Fetch) -> tuple[str, ...]:
    with ExitStack() as fetched:
        files = []
        for url in (file for package in packages for file in package.versions):
            is_url = urls.split(url).scheme in ("http", "https", "file")
            path = fetched.enter_context(fetch(url, "")) if is_url else Path(url)
            files.append(str(path.absolute()))
        must(["dpkg", "-i", *files], _doing(DPKG, packages), timeout_s=INSTALL_S, extra=_WITHOUT_QUESTIONS)
    return tuple(package.name for package in packages)


# -------------------------------------------------------------------------------------------- Red Hat, SUSE


def _rpm_like(manager: str, packages: tuple[Package, ...]) -> tuple[str, ...]:
    """As heat-cfntools: what rpm does not know is looked up, then all of it is installed at once."""
    program = DNF if manager == YUM and not _has_yum() else manager
    installs, downgrades, absent = [], [], []
    for package in packages:
        version = newest(package.versions)
        full = f"{package.name}-{version}" if version else package.name
        if ask(["rpm", "-q", full]).status == 0:
            continue
        if ask(_looking_up(program, full)).status:
            absent.append(full)
        elif version and 0 < compare(_rpm_version(package.name), version):
            downgrades.append(full)
        else:
            installs.append(full)
    if absent:
        raise ApplyError(f"installing {', '.join(absent)} by {program}: not available; see its repositories")
    for verb, names in (("install", installs), ("downgrade", downgrades)):
        if names:
            must(changing(program, verb, names), f"{verb} of {', '.join(names)} by {program}", timeout_s=INSTALL_S)
    return tuple(p.name for p in packages if {p.name, f"{p.name}-{newest(p.versions)}"} & {*installs, *downgrades})


def _has_yum() -> bool:
    """Asked as heat-cfntools does, by `which`, where that is; images without it are asked by ourselves."""
    return ask(["which", YUM]).status == 0 if has("which") else has(YUM)


def _looking_up(program: str, full: str) -> list[str]:
    if program == ZYPPER:
        return [ZYPPER, "-n", "--no-refresh", "search", full]
    return [program, *_LIST, full]


def changing(program: str, verb: str, names: list[str]) -> list[str]:
    """The command line that installs or downgrades."""
    if program == ZYPPER:
        return [ZYPPER, "-n", "install", *(["--oldpackage"] if verb == "downgrade" else []), *names]
    best = ["--best"] if program == DNF and verb == "install" else []
    return [program, "-y", *best, verb, *names]


def _rpm_version(name: str) -> str:
    done = ask(["rpm", "-q", "--queryformat", "%{VERSION}-%{RELEASE}\\n", name])
    return done.stdout.text().partition("\n")[0] if done.status == 0 else ""


# ------------------------------------------------------------------------------------------- languages


def _one_by_one(manager: str, packages: tuple[Package, ...]) -> tuple[str, ...]:
    line = _LANGUAGES[manager]
    for package in packages:
        must(line(package.name, newest(package.versions)), _doing(manager, [package]), timeout_s=INSTALL_S)
    return tuple(package.name for package in packages)


def _gem(name: str, version: str) -> list[str]:
    return ["gem", "install", "-b", *(["--version", version] if version else []), name]


def _npm(name: str, version: str) -> list[str]:
    return ["npm", "install", "-g", f"{name}@{version}" if version else name]


def _pip(name: str, version: str) -> list[str]:
    program = ["pip3"] if has("pip3") else ["pip"] if has("pip") else ["python3", "-m", "pip"]
    return [*program, "install", f"{name}=={version}" if version else name]


def _python(name: str, version: str) -> list[str]:
    if has("easy_install"):
        return ["easy_install", f"{name}=={version}" if version else name]
    return _pip(name, version)


_LANGUAGES: dict[str, Callable[[str, str], list[str]]] = {
    GEM: _gem,
    RUBYGEMS: _gem,
    NPM: _npm,
    PIP: _pip,
    PYTHON: _python,
}


# --------------------------------------------------------------------------------------------- versions


def newest(versions: Iterable[str]) -> str:
    """The highest of the versions, "" of none."""
    return max(versions, key=cmp_to_key(compare), default="")


def compare(one: str, other: str) -> int:
    """-1, 0 or 1, as rpm compares: runs of digits and of letters in turn, numbers above letters, ~ below the end."""
    left, right = _segments(one), _segments(other)
    for a, b in itertools.zip_longest(left, right, fillvalue=(1, 0, "")):
        if a != b:
            return -1 if a < b else 1
    return 0


def _segments(version: str) -> list[tuple[int, int, str]]:
    """Each run as a key: ~ (0), the end (1), letters (2), numbers (3)."""
    runs: list[str] = re.findall(r"~|\d+|[A-Za-z]+", version)
    return [(0, 0, "") if run == "~" else (3, int(run), "") if run.isdecimal() else (2, 0, run) for run in runs]
