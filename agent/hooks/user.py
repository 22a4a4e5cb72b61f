"""Somebody else whom a hook's program is run as, and whose files it finds."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def acting_as(user: User | None) -> Iterator[None]:
    """Touch files with the rights of `user` and as that user's own; None changes nothing.

    In directories of the user's, so that no link laid there leads us to files that are not. Only for a process of one
    thread, and for nothing that imports: our packages need not be the user's to read. Raises OSError.
    """
    if user is None:
        yield
        return
    before = os.geteuid(), os.getegid(), os.getgroups()
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})  # it would strike half-way back
    try:
        os.setgroups(user.identity.groups)
        os.setegid(user.identity.gid)
        os.seteuid(user.identity.uid)
        yield
    finally:
        os.seteuid(before[0])
        os.setegid(before[1])
        os.setgroups(before[2])
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
