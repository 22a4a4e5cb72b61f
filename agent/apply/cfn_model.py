"""`AWS::CloudFormation::Init` as values: what each section asks for.

The sections, their keys and the words for true are those of heat-cfntools 2.0.0 and aws-cfn-bootstrap 1.4.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:  # the model is 10 ms of classes
    from agent.model import Json, JsonMap

INIT = "AWS::CloudFormation::Init"
AUTHENTICATION = "AWS::CloudFormation::Authentication"

APT, DNF, DPKG, GEM, NPM, PIP, PYTHON, RPM, RUBYGEMS, YUM, ZYPPER = (
    *("apt", "dnf", "dpkg", "gem", "npm", "pip", "python", "rpm", "rubygems", "yum", "zypper"),
)
MANAGERS = (DPKG, RPM, APT, YUM, DNF, GEM, NPM, PIP, PYTHON, RUBYGEMS, ZYPPER)
"""The package managers in the order in which they are used: heat-cfntools' five, then by name."""
SYSTEMD, SYSVINIT = "systemd", "sysvinit"

Fetch: TypeAlias = Callable[[str, str], AbstractContextManager[Path]]
"""Gives a file with what a URL serves, for as long as it is looked at; "" for a name means credentials that fit."""

FILES, SOURCES, GROUPS, USERS, COMMANDS = "files", "sources", "groups", "users", "commands"


@dataclass(frozen=True, slots=True)
class Package:
    """One package; the versions of dpkg and rpm are the files or URLs to install."""

    manager: str
    name: str
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    name: str
    gid: int | None = None


@dataclass(frozen=True, slots=True)
class User:
    """A system user; None is what the document does not say."""

    name: str
    uid: int | None = None
    groups: tuple[str, ...] | None = None
    home: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """An archive to unpack into a directory."""

    directory: str
    url: str = field(repr=False)
    authentication: str = ""


@dataclass(frozen=True, slots=True)
class File:
    """A file with its content, or with the URL to fetch it from; a link points at its content."""

    path: str
    content: bytes | None = field(default=None, repr=False)
    source: str = field(default="", repr=False)
    link: bool = False
    mode: int | None = None
    owner: str = ""
    group: str = ""
    context: JsonMap | None = field(default=None, repr=False)
    authentication: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A program, or text for a shell; an `env` replaces the whole environment."""

    name: str
    command: str | tuple[str, ...] | None = field(repr=False)
    test: str | tuple[str, ...] | None = field(default=None, repr=False)
    defaults: str | tuple[str, ...] | None = field(default=None, repr=False)
    env: Mapping[str, str] | None = field(default=None, repr=False)
    cwd: str = ""
    runas: str = ""
    ignore_errors: bool = False


@dataclass(frozen=True, slots=True)
class Service:
    """What a service shall be, None where it may be either, and what it is restarted for."""

    manager: str
    name: str
    enabled: bool | None = None
    running: bool | None = None
    triggers: Mapping[str, frozenset[str]] = field(default_factory=dict)
    packages: frozenset[tuple[str, str]] = frozenset()


@dataclass(frozen=True, slots=True)
class Config:
    """One config of the document, its sections in the order in which they are applied."""

    name: str
    packages: tuple[Package, ...] = ()
    groups: tuple[Group, ...] = ()
    users: tuple[User, ...] = ()
    sources: tuple[Source, ...] = ()
    files: tuple[File, ...] = ()
    commands: tuple[Command, ...] = ()
    services: tuple[Service, ...] = ()


@dataclass(frozen=True, slots=True)
class Credentials:
    """How to sign in at the server of a file or archive: `kind` is basic or S3."""

    name: str
    kind: str
    user: str
    secret: str = field(repr=False)
    places: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Changes:
    """What has changed in one config so far: names by section, packages with their manager."""

    names: Mapping[str, frozenset[str]] = field(default_factory=dict)
    packages: frozenset[tuple[str, str]] = frozenset()


def with_names(changes: Changes, section: str, names: frozenset[str]) -> Changes:
    """`changes`, and these names of a section."""
    return Changes({**changes.names, section: changes.names.get(section, frozenset()) | names}, changes.packages)


def to_be_restarted(service: Service, changes: Changes) -> bool:
    """Whether something that the service names as a trigger has changed."""
    named = any(wanted & changes.names.get(section, frozenset()) for section, wanted in service.triggers.items())
    return named or bool(service.packages & changes.packages)


def is_true(value: Json) -> bool:
    """What heat-cfntools takes for true: true, yes and 1, as text, boolean or number; "on" is false."""
    return str(value).strip().lower() in {"true", "yes", "1"}
