"""Somebody else whom a hook's program is run as."""

from __future__ import annotations

import os
from dataclasses import dataclass

from agent.process import Identity


@dataclass(frozen=True, slots=True)
class User:
    """Somebody else that a hook's program is run as."""

    name: str
    home: str
    shell: str
    identity: Identity

    @property
    def owner(self) -> tuple[int, int]:
        return self.identity.uid, self.identity.gid

    def variables(self) -> dict[str, str]:
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell or "/bin/sh"}


def look_up(name: str) -> User | None:
    """The user of that name or uid; None when that is who we are.

    Raises LookupError, saying what to do, when there is no such user or we may not become it.
    """
    import pwd  # noqa: PLC0415 - for few deployments

    try:
        known = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise LookupError(
            f"its option run_as names '{name}', who is no user of this guest; add the user first"
        ) from None
    if known.pw_uid == os.geteuid():
        return None
    if os.geteuid() != 0:
        raise LookupError(f"its option run_as names '{name}' and this agent is not root; run it as root")
    identity = Identity(known.pw_uid, known.pw_gid, tuple(os.getgrouplist(known.pw_name, known.pw_gid)))
    return User(known.pw_name, known.pw_dir, known.pw_shell, identity)
