"""Sections groups and users: system accounts, as aws-cfn-bootstrap makes them. Nothing is ever removed."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterable

from agent.apply.cfn_model import Group, User
from agent.apply.cfn_programs import Tell, must
from agent.errors import ApplyError


def add_groups(groups: Iterable[Group], tell: Tell) -> frozenset[str]:
    """Add what is missing; the names that were added. Raises ApplyError for one that has another gid."""
    added = set()
    for group in groups:
        gid = _gid(group.name)
        if gid is not None:
            if group.gid not in (None, gid):
                raise ApplyError(f"adding group {group.name}: it is there with gid {gid}, not {group.gid}; change one")
            tell(f"group {group.name} is there")
            continue
        number = [] if group.gid is None else ["-g", str(group.gid)]
        must(["groupadd", "-r", *number, group.name], f"adding group {group.name}")
        tell(f"group {group.name} added")
        added.add(group.name)
    return frozenset(added)


def add_users(users: Iterable[User], tell: Tell) -> frozenset[str]:
    """Add what is missing, mend groups and home of what is there; the names that changed."""
    changed = set()
    for user in users:
        try:
            found = pwd.getpwnam(user.name)
        except KeyError:
            must(adding(user), f"adding user {user.name}")
            tell(f"user {user.name} added")
            changed.add(user.name)
            continue
        if user.uid not in (None, found.pw_uid):
            raise ApplyError(
                f"adding user {user.name}: it is there with uid {found.pw_uid}, not {user.uid}; change one"
            )
        different = mending(user, found.pw_dir, _groups(user.name, found.pw_gid))
        if different:
            must(["usermod", *different, user.name], f"changing user {user.name}")
            changed.add(user.name)
        tell(f"user {user.name} {'changed' if different else 'is there'}")
    return frozenset(changed)


def adding(user: User) -> list[str]:
    """The command line that makes a user: a system user that cannot log in, its home not created."""
    argv = ["useradd", "-M", "-r", "--shell", "/sbin/nologin"]
    if user.home is not None:
        argv += ["-d", user.home]
    if user.uid is not None:
        argv += ["-u", str(user.uid)]
    if user.groups:
        argv += ["-G", ",".join(user.groups)]
    return [*argv, user.name]


def mending(user: User, home: str, groups: frozenset[str]) -> list[str]:
    """What usermod has to be told about a user that is there, nothing when it is as it should be."""
    argv = []
    if user.groups is not None and {_group_name(group) for group in user.groups} != groups:
        argv += ["-G", ",".join(user.groups)]
    if user.home is not None and user.home != home:
        argv += ["-d", user.home]
    return argv


def _gid(name: str) -> int | None:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _groups(user: str, gid: int) -> frozenset[str]:
    """The groups of a user beside its own."""
    return frozenset(_group_name(str(number)) for number in os.getgrouplist(user, gid) if number != gid)


def _group_name(group: str) -> str:
    """The name of a group that may be given by number."""
    try:
        return grp.getgrgid(int(group)).gr_name if group.isdecimal() else group
    except KeyError:
        return group
