"""What can be seen of the way a deployment takes: settings, disk, sources, hooks, state. Nothing is changed.

Sources are asked as the agent asks them, but none of them is told that it was heard.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent import hooks, process, signaller
from agent.doctor import network
from agent.doctor.network import Reached
from agent.documents import Glass
from agent.errors import AgentError, Gone, MetadataError, Refused, SettingsError, StateError
from agent.metadata import Metadata
from agent.model import Deployment
from agent.settings import Given, Settings
from agent.trust import judge
from agent.view import guest
from agent.view.guest import Guest

UNIT = "os-deploy-agent.service"
UNIT_S = 5.0
ABSENT = "is not there"
ADDRESSES = {
    "cfn": "cfn_metadata_url",
    "heat": "heat_auth_url",
    "request": "request_metadata_url",
    "zaqar": "zaqar_auth_url",
}


@dataclass(frozen=True, slots=True)
class Disk:
    path: str
    free_bytes: int
    free_inodes: int
    read_only: bool


@dataclass(frozen=True, slots=True)
class Asked:
    """What asking one source came to. `kind` says what went wrong, as a code; "" when it answered."""

    name: str
    reached: Reached | None = None
    kind: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Ready:
    """Whether one listed deployment could be run: why not, as a code and a sentence."""

    name: str
    kind: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. What could not be looked at, because something before it failed, is empty."""

    now: float
    settings_fault: str = ""
    state_fault: str = ""
    guest: Guest | None = None
    disk: Disk | None = None
    bootstrap: Mapping[str, str] = field(default_factory=dict)
    named: tuple[str, ...] = ()
    sources: tuple[Asked, ...] = ()
    listed: int = 0
    ready: tuple[Ready, ...] = ()
    endpoints: tuple[tuple[str, Reached], ...] = ()
    unit: str = ""
    certificates: Mapping[str, float] = field(default_factory=dict)


def gather(given: Given, *, ask: bool) -> Evidence:
    """Look at everything; `ask` the sources and endpoints, too. Takes half a minute where nothing answers."""
    now = time.time()
    try:
        settings = given.settings()
    except AgentError as exc:
        return Evidence(now, settings_fault=str(exc))
    disk = _disk(settings)
    try:
        seen = guest.read(settings, everything=True)
        metadata = Metadata(given, time.time, shelf=Glass(seen.documents))
        metadata.open()
    except (StateError, SettingsError) as exc:
        return Evidence(now, state_fault=str(exc), disk=disk)
    sources = tuple(_sources(metadata)) if ask else ()
    deployments = metadata.deployments()
    return Evidence(
        now,
        guest=seen,
        disk=disk,
        bootstrap=_bootstrap(settings),
        named=tuple(metadata.names()),
        sources=sources,
        listed=len(deployments),
        ready=tuple(_ready(deployment, metadata.settings) for deployment in deployments),
        endpoints=tuple(_endpoints(seen, metadata.settings)) if ask else (),
        unit=_unit(settings),
        certificates={**seen.bulletin.certificates, **metadata.certificates()},
    )


def _disk(settings: Settings) -> Disk | None:
    path = settings.path(settings.state_dir)
    while not path.exists() and path != path.parent:
        path = path.parent
    with suppress(OSError):  # what then cannot be read either says why
        found = os.statvfs(path)
        files = found.f_favail if found.f_files else 1 << 20  # btrfs counts none
        return Disk(str(path), found.f_bavail * found.f_frsize, files, bool(found.f_flag & os.ST_RDONLY))
    return None


def _bootstrap(settings: Settings) -> dict[str, str]:
    """What cloud-init left, by file: what is wrong with it, "" when nothing is."""
    found = {}
    for path in map(settings.path, settings.heat_local_path):
        try:
            mode = path.stat().st_mode
        except FileNotFoundError:
            found[str(path)] = ABSENT
        except OSError as exc:
            found[str(path)] = exc.strerror or "cannot be looked at"
        else:
            found[str(path)] = "is readable by everybody; see the setting heat_local.tighten" if mode & 0o004 else ""
    return found


def _sources(metadata: Metadata) -> Iterator[Asked]:
    """Ask each source; one that another's answer configures comes, too."""
    done: set[str] = set()
    while name := next((name for name in metadata.names() if name not in done), ""):
        done.add(name)
        address = getattr(metadata.settings, ADDRESSES[name]) if name in ADDRESSES else ""
        reached = network.reach(address, metadata.settings, name) if address else None
        if reached and reached.code and reached.code != "clock-skew":
            yield Asked(name, reached, reached.code, reached.text)
            continue
        fault = metadata.collect({name})[name].fault
        yield Asked(name, reached, _kind(fault), str(fault or ""))


def _kind(fault: AgentError | None) -> str:
    match fault:
        case None:
            return ""
        case Gone():
            return "stack-gone"
        case Refused(status=401 | 403):
            return "credentials-refused"
        case Refused(status=404):
            return "not-found"
        case MetadataError():
            return "not-metadata"
        case SettingsError():
            return "settings-broken"
        case _:
            return "server-failing"


def _ready(deployment: Deployment, settings: Settings) -> Ready:
    name = deployment.name
    if deployment.fault:
        return Ready(name, "malformed", deployment.fault)
    if why := judge.refusal(deployment, settings):
        return Ready(name, "policy-refuses", why)
    if hooks.find(deployment.group, settings, os.environ) is None:
        why = hooks.missing(deployment.group, settings, os.environ)
        return Ready(name, "hook-unfit" if "not executable" in why else "no-hook", why)
    return Ready(name)


def _endpoints(seen: Guest, settings: Settings) -> Iterator[tuple[str, Reached]]:
    """The way to whoever waits for an outcome that could not be sent."""
    for known in seen.deployments:
        if known.entry.progress == "finished" and known.listed and known.deployment.endpoint.wanted:
            endpoint = known.deployment.endpoint
            url = endpoint.url or (endpoint.credentials.auth_url if endpoint.credentials else "")
            section = signaller.SECTIONS.get(endpoint.transport, "")
            yield known.deployment.name, network.reach(url, settings, section)


def _unit(settings: Settings) -> str:
    """How the agent's unit stands, as systemd says it: "active", "failed (watchdog)"; "" without such a unit."""
    if not settings.path("/run/systemd/system").is_dir() or settings.root != Path("/"):
        return ""
    argv = ["systemctl", "show", UNIT, "--property=LoadState,ActiveState,Result,StatusText"]
    try:
        said = process.ask(argv, timeout_s=UNIT_S)
    except OSError:  # no systemctl, or nobody answers it
        return ""
    facts = dict(line.partition("=")[::2] for line in said.splitlines())
    if facts.get("LoadState") != "loaded":
        return ""
    result = facts.get("Result", "success")
    return facts.get("ActiveState", "") + (f" ({result})" if result != "success" else "")
