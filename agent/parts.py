"""One drop-in directory: the contract of dib-run-parts.

Scripts run one by one on our own streams, each with the environment that `../environment.d` makes and with nothing of
the script before. The first failure ends the run, and at the deadline whatever a script started is ended with it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from agent import process
from agent.errors import ApplyError

NAMES = "^[0-9A-Za-z_-]+$"
FOREVER = float("inf")

Say: TypeAlias = Callable[[str], None]

_ENVIRONMENT_NAME = re.compile(r"[0-9A-Za-z_\\.-]+")
_NUMBER = re.compile(r"[ \t]*(-?)([0-9]*)(?:\.([0-9]*))?")
_POSIX_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": r" \t",
    "digit": "0-9",
    "lower": "a-z",
    "punct": r"!-/:-@\[-`{-~",
    "space": r"\s",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}

# What the files of environment.d make of our environment, working directory and umask, told on a descriptor.
_SOURCE = r"""
set -eu; set -o pipefail
__agent_fd=$1; shift; __agent_files=("$@"); set --
for __agent_file in "${__agent_files[@]}"; do
    printf 'dib-run-parts %(%a %b %e %H:%M:%S %Z %Y)T Sourcing environment file %s\n' -1 "$__agent_file" >&2
    set -x; source "$__agent_file"; { set +x; } 2>/dev/null
done
exec "$BASH" --norc -c '
    mapfile -d "" -t all </proc/$$/environ; { umask; printf "%s\0" "$PWD" "${all[@]}"; } >&$1' - "$__agent_fd"
"""


@dataclass(frozen=True, slots=True)
class Ran:
    """One script of a directory, how it ended and how long it took."""

    name: str
    status: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Parts:
    """How a directory of scripts was run: 0, or the status of the script (or environment file) that failed."""

    directory: str
    status: int = 0
    ran: tuple[Ran, ...] = ()
    timed_out: bool = False
    paused_s: float = 0.0

    @property
    def failed_script(self) -> str:
        return self.ran[-1].name if self.status and self.ran else ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a script finds: environment, working directory, umask."""

    environ: Mapping[str, str]
    cwd: Path | None = None
    umask: int = -1


BuiltIn: TypeAlias = Callable[[Surroundings, float], tuple[process.Ended, float]]
"""A step of the agent's own among the scripts: gets what they get and the deadline (of time.monotonic()), tells how it
ended and for how many seconds of it the deadline is to stand still."""
NO_STEPS: Mapping[str, BuiltIn] = {}


def scripts(directory: str, pattern: str = NAMES) -> tuple[str, ...]:
    """Names of the files in `directory` that may be executed and fit `pattern`, by number, then by name.

    Raises ApplyError for a pattern that is none.
    """
    fits = _compiled(pattern)
    found = [
        name
        for name in os.listdir(directory)
        if "\n" not in name and fits.search(name) and _is_script(os.path.join(directory, name))  # noqa: PTH118
    ]
    return in_order(found)


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Names of scripts by the number they begin with, then by name."""
    return tuple(sorted(names, key=lambda name: (_number(name), os.fsencode(name))))


def run_parts(
    directory: str,
    environ: Mapping[str, str],
    say: Say,
    *,
    deadline: float = FOREVER,
    built_in: Mapping[str, BuiltIn] = NO_STEPS,
) -> Parts:
    """Run the scripts of `directory` until one fails; `say` hears what dib-run-parts always told.

    A step of `built_in` has its place among them by its name, and that of a script of the same name.
    """
    here = present(directory, environ)
    for name in _passed_over(directory, environ):
        say(f"Passing over {directory}/{name}: its name does not fit {NAMES}; rename it, or set RUN_PARTS_REGEX")
    for name in sorted(built_in.keys() & set(here)):
        say(f"Leaving out {directory}/{name}: the agent does its work itself")
    names = in_order({*here, *built_in})
    found = surroundings(directory, _usable(environ), say, deadline)
    if isinstance(found, process.Ended):
        return Parts(directory, found.status or 1, (), found.timed_out)
    ran: list[Ran] = []
    paused_s = 0.0
    for name in names:
        say(f"Running {directory}/{name}")
        began = time.monotonic()
        step = built_in.get(name)
        ended, stood_s = (
            step(found, deadline + paused_s)
            if step
            else (_run(f"{directory}/{name}", found, say, deadline + paused_s), 0.0)
        )
        paused_s += stood_s
        ran.append(Ran(name, ended.status, time.monotonic() - began))
        if ended.status or ended.timed_out:
            return Parts(directory, ended.status or 1, tuple(ran), ended.timed_out, paused_s)
        say(f"{name} completed")
    return Parts(directory, 0, tuple(ran), paused_s=paused_s)


def present(directory: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """As `scripts`, by the expression of RUN_PARTS_REGEX; nothing without the directory."""
    return scripts(directory, environ.get("RUN_PARTS_REGEX") or NAMES) if Path(directory).is_dir() else ()


def _passed_over(directory: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """What may be executed and is not for its name alone, most often for a dot in it; nothing where a rule is set."""
    if environ.get("RUN_PARTS_REGEX") or not Path(directory).is_dir():
        return ()
    fit = set(scripts(directory))
    return tuple(name for name in scripts(directory, r"^[^.]") if name not in fit)


def profile(parts: Parts) -> tuple[str, ...]:
    """The table of how long each script took, line by line."""
    return (
        "----------------------- PROFILING -----------------------",
        "",
        f"Target: {Path(parts.directory).name}",
        "",
        f"{'Script':<40} {'Seconds':>9}",
        f"{'-' * 39:<40} {'-' * 10:>9}",
        "",
        *(f"{ran.name:<40} {ran.seconds:>10.3f}" for ran in parts.ran),
        "",
        "--------------------- END PROFILING ---------------------",
    )


def surroundings(directory: str, environ: Mapping[str, str], say: Say, deadline: float) -> Surroundings | process.Ended:
    """What the files of `directory`/../environment.d make of the environment, or how the one ended that failed."""
    beside = f"{directory}/../environment.d"
    names = sorted(os.listdir(beside), key=os.fsencode) if Path(beside).is_dir() else []
    files = [f"{beside}/{name}" for name in names if _ENVIRONMENT_NAME.fullmatch(name)]
    files = [file for file in files if Path(file).is_file()]
    if not files:
        return Surroundings(environ)
    bash = _shell(environ, "bash")
    if bash is None:
        say(f"Cannot source {beside}: bash is missing; install it")
        return process.Ended(127)
    fd = os.memfd_create("environment")
    try:
        argv = [bash, "-c", _SOURCE, "dib-run-parts", str(fd), *files]
        ended = process.attend(argv, env=environ, deadline=deadline, pass_fds=(fd,))
        os.lseek(fd, 0, os.SEEK_SET)
        with os.fdopen(os.dup(fd), "rb") as told:
            return ended if ended.status or ended.timed_out else _surroundings(told.read())
    finally:
        os.close(fd)


def _surroundings(told: bytes) -> Surroundings:
    umask, _, rest = told.partition(b"\n")
    cwd, *pairs = os.fsdecode(rest).split("\0")[:-1]
    environ = dict(pair.partition("=")[::2] for pair in pairs if "=" in pair)
    environ.pop("_", None)
    return Surroundings(environ, Path(cwd), int(umask, 8))


def _run(path: str, found: Surroundings, say: Say, deadline: float) -> process.Ended:
    """Run one script; one without an interpreter line is the shell's, as it is for any shell."""
    argv = [str(Path(path).absolute())]
    for attempt in (argv, [_shell(found.environ, "bash") or "/bin/sh", *argv]):
        try:
            return process.attend(attempt, env=found.environ, cwd=found.cwd, umask=found.umask, deadline=deadline)
        except OSError as exc:
            if exc.errno == errno.ENOEXEC and attempt is argv and not _is_binary(path):
                continue
            say(f"Cannot run {path}: {exc.strerror}; see its first line")
            return process.Ended(127 if isinstance(exc, FileNotFoundError) else 126)
    raise AssertionError("a shell is no script")


def _is_script(path: str) -> bool:
    return Path(path).is_file() and os.access(path, os.X_OK)


def _is_binary(path: str) -> bool:
    with Path(path).open("rb") as file:
        return b"\0" in file.read(80)


def _number(name: str) -> int:
    """What `sort -n` sees at the beginning of a name; exact, since a name has at most 255 digits."""
    found = _NUMBER.match(name)
    assert found is not None
    value = int(f"0{found[2]}{(found[3] or '').ljust(255, '0')}")
    return -value if found[1] else value


def _compiled(pattern: str) -> re.Pattern[str]:
    """An extended regular expression of POSIX, as far as names of scripts need one."""
    text = re.sub(r"\[:([a-z]+):\]", lambda found: _POSIX_CLASSES.get(found[1], found[0]), pattern)
    try:
        return re.compile(text, re.ASCII)
    except re.error as exc:
        raise ApplyError(f"reading RUN_PARTS_REGEX {pattern!r}: {exc}; no script is run") from exc


def _shell(environ: Mapping[str, str], name: str) -> str | None:
    return next(
        (str(path) for path in (Path("/bin", name), Path("/usr/bin", name)) if os.access(path, os.X_OK)),
        shutil.which(name, path=environ.get("PATH")),
    )


def _usable(environ: Mapping[str, str]) -> dict[str, str]:
    """The caller's environment; scripts get a PATH even when the caller had none."""
    return {**environ, "PATH": environ.get("PATH") or process.DEFAULT_PATH}
