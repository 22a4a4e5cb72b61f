"""Section commands: programs and lines for a shell, by name; the first that fails ends the run unless it may fail.

As in heat-cfntools a command without a working directory, or without anything to run, is passed over. What
waitAfterCompletion says holds for reboots of Windows (AWS's reference) and for nothing here.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent import jsontext, process
from agent.apply.cfn_model import Command
from agent.apply.cfn_programs import Tell, last_words
from agent.errors import AgentError, ApplyError
from agent.process import Finished, Identity

LONGEST_S = 4 * 3600.0
KEPT = 100_000


@dataclass(frozen=True, slots=True)
class Account:
    """Who runs something, and what its environment says of that."""

    identity: Identity
    name: str
    home: str
    shell: str

    @property
    def variables(self) -> dict[str, str]:
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell}


def account(name: str) -> Account:
    """The account of that name or number, with its groups. Raises ApplyError when there is none."""
    try:
        found = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError) as exc:
        raise ApplyError(f"running as {name}: no such user here; declare it in users") from exc
    groups = tuple(os.getgrouplist(found.pw_name, found.pw_gid))
    shell = found.pw_shell or "/bin/sh"
    return Account(Identity(found.pw_uid, found.pw_gid, groups), found.pw_name, found.pw_dir, shell)


def run(commands: Iterable[Command], tell: Tell) -> frozenset[str]:
    """Run each in turn; the names of those that ran. Raises ApplyError for the first that fails."""
    ran = set()
    for command in commands:
        directory = Path(command.cwd or ".").expanduser().absolute()
        if command.command is None:
            tell(f"command {command.name} passed over: it has nothing to run")
        elif not directory.is_dir():
            tell(f"command {command.name} passed over: no directory {directory}")
        elif _attempt(command, command.command, directory, tell):
            ran.add(command.name)
    return frozenset(ran)


def _attempt(command: Command, program: str | tuple[str, ...], directory: Path, tell: Tell) -> bool:
    try:
        who = account(command.runas) if command.runas else None
        env = _environment(command, who, directory)
        if command.test is not None and (tested := _start(command.test, env, directory, who).status):
            tell(f"command {command.name} not needed: its test ended with {tested}")
            return False
        done = _start(program, env, directory, who)
        if done.timed_out:
            raise ApplyError(f"not done within {LONGEST_S:.0f} s, ended")
        if done.status:
            raise ApplyError(f"it ended with {done.status}{last_words(done)}")
    except AgentError as exc:
        if not command.ignore_errors:
            raise ApplyError(f"command {command.name} failed: {exc}") from exc
        tell(f"command {command.name} failed, which is ignored: {exc}")
        return True
    tell(f"command {command.name} succeeded")
    return True


def _environment(command: Command, who: Account | None, directory: Path) -> Mapping[str, str]:
    """What `env` says and nothing else, on top of the `defaults`; without both our own, as of who runs it."""
    own = process.environment(who.variables if who else {})
    if command.defaults is None:
        return own if command.env is None else command.env
    done = _start(command.defaults, own, directory, who)
    if done.status:
        raise ApplyError(f"its defaults ended with {done.status}{last_words(done)}")
    given = jsontext.decode_map(done.stdout.bytes(), "what its defaults print")
    return {**{name: jsontext.as_text(value) for name, value in given.items()}, **(command.env or {})}


def _start(program: str | tuple[str, ...], env: Mapping[str, str], directory: Path, who: Account | None) -> Finished:
    argv = ["/bin/sh", "-c", program] if isinstance(program, str) else list(program)
    try:
        return process.run(
            argv, env=env, cwd=directory, timeout_s=LONGEST_S, keep=KEPT, identity=who.identity if who else None
        )
    except (OSError, ValueError) as exc:  # ValueError: a zero byte among the words
        raise ApplyError(f"it cannot be started: {getattr(exc, 'strerror', None) or exc}") from exc
