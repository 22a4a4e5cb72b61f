"""`AWS::CloudFormation::Init`: judge everything, then run the configs in AWS's order.

    packages, groups, users, sources, files, commands, services

The first thing that fails ends the run; what its message names is not done, what came before stays.
"""

from __future__ import annotations

import grp
import pwd
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from agent.apply import (
    cfn_accounts,
    cfn_commands,
    cfn_files,
    cfn_parse,
    cfn_sets,
)
from agent.apply.cfn_model import (
    COMMANDS,
    FILES,
    GROUPS,
    INIT,
    SOURCES,
    USERS,
    Changes,
    Config,
    Credentials,
    Fetch,
    with_names,
)
from agent.apply.cfn_programs import Tell
from agent.errors import MetadataError

if TYPE_CHECKING:  # the model is 10 ms of classes
    from agent.model import JsonMap

Known: TypeAlias = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Plan:
    """The configs to run, fit to be run, and what in them is passed over."""

    configs: tuple[Config, ...]
    warnings: tuple[str, ...] = ()
    credentials: Mapping[str, Credentials] = field(default_factory=dict, repr=False)


def plan(metadata: JsonMap, asked: Iterable[str] = ()) -> Plan:
    """What a run would do. Raises MetadataError that names every fault with its path; nothing is touched."""
    init = metadata.get(INIT)
    if not isinstance(init, dict) or not init:
        raise MetadataError(f"invalid metadata: it has no {INIT}; look at the resource's Metadata in the template")
    chosen = cfn_sets.choose(init, asked)
    parser = cfn_parse.Parser()
    credentials = parser.credentials(metadata)
    configs = {name: parser.config(name, init[name], credentials) for name in dict.fromkeys(chosen)}
    ordered = tuple(configs[name] for name in chosen)
    faults = [*parser.faults, *strangers(ordered, user=_user_exists, group=_group_exists)]
    if faults:
        raise MetadataError(f"invalid metadata, nothing was changed: {'; '.join(faults)}")
    return Plan(ordered, tuple(parser.warnings), credentials)


def run(config: Config, fetch: Fetch, tell: Tell) -> None:
    """Apply one config. Raises ApplyError, Unavailable or Refused where it fails."""
    changes = Changes(packages=_install(config, fetch, tell))
    changes = with_names(changes, GROUPS, cfn_accounts.add_groups(config.groups, tell))
    changes = with_names(changes, USERS, cfn_accounts.add_users(config.users, tell))
    changes = with_names(changes, SOURCES, _unpack(config, fetch, tell))
    changes = with_names(changes, FILES, cfn_files.place(config.files, fetch, tell))
    changes = with_names(changes, COMMANDS, cfn_commands.run(config.commands, tell))
    if config.services:
        from agent.apply import cfn_services  # noqa: PLC0415 - what it knows of systemd costs 10 ms

        cfn_services.settle(config.services, changes, tell)


def _install(config: Config, fetch: Fetch, tell: Tell) -> frozenset[tuple[str, str]]:
    if not config.packages:
        return frozenset()
    from agent.apply import cfn_packages  # noqa: PLC0415 - for those who have packages

    return cfn_packages.install(config.packages, fetch, tell)


def _unpack(config: Config, fetch: Fetch, tell: Tell) -> frozenset[str]:
    if not config.sources:
        return frozenset()
    from agent.apply import cfn_sources  # noqa: PLC0415 - the archives of the standard library cost 5 ms

    return cfn_sources.unpack(config.sources, fetch, tell)


def strangers(configs: Iterable[Config], *, user: Known, group: Known) -> list[str]:
    """Owners that are not there and that nothing in the run so far could have made: no package, no command."""
    users: set[str] = set()
    groups: set[str] = set()
    faults: list[str] = []
    for config in configs:
        if config.packages:
            return faults
        groups |= {made.name for made in config.groups} | {made.name for made in config.users}
        users |= {made.name for made in config.users}
        for file in config.files:
            where = f"{config.name}.files.{file.path}"
            if file.owner and file.owner not in users and not user(file.owner):
                faults.append(f"{where}.owner: no user {file.owner} here; declare it in users")
            if file.group and file.group not in groups and not group(file.group):
                faults.append(f"{where}.group: no group {file.group} here; declare it in groups")
        if config.commands:
            return faults
    return faults


def _user_exists(name: str) -> bool:
    if name.isdecimal():
        return True
    try:
        pwd.getpwnam(name)
    except KeyError:
        return False
    return True


def _group_exists(name: str) -> bool:
    if name.isdecimal():
        return True
    try:
        grp.getgrnam(name)
    except KeyError:
        return False
    return True
