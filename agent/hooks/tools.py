"""The tools behind the hooks: where they are, what they are written in, and what to say without them."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from agent import model, process
from agent.hooks import workplace, writing
from agent.hooks.user import acting_as
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Outcome

OWN = """import sys
sys.path[:0] = sys.argv[1:2]
from agent.cli import main
sys.exit(main.main(sys.argv[3:], sys.argv[2]))"""


def command(place: Workplace, variable: str, *names: str) -> list[str]:
    """How to call the program that `variable` names, else the first of `names` on PATH; empty when there is none."""
    named = place.environ.get(variable)
    path = place.environ.get("PATH") or process.DEFAULT_PATH
    for argv in [[named], named.split()] if named else [[name] for name in names]:
        if argv and (found := shutil.which(argv[0], path=path)):
            return [os.path.abspath(found), *argv[1:]]  # noqa: PTH100 - the name matters, a link stays one
    return []


def own(place: Workplace, name: str) -> list[str]:
    """How to call our own door of an old command; empty below another root, which the old commands know nothing of."""
    return [sys.executable, "-I", "-c", OWN, str(Path(__file__).parents[2]), name] if place.root == Path("/") else []


def missing_tool(place: Workplace, deployment: Deployment, variable: str, advice: str) -> Outcome:
    """The outcome when `command` found nothing; `advice` says what is not there and what installs it."""
    named = place.environ.get(variable)
    why = f"{variable} names '{named}', which is no program on PATH; correct it or unset it" if named else advice
    return Outcome(model.STATUS_NOT_FOUND, "", f"{deployment.group} for '{deployment.name}' was not run: {why}\n")


def interpreter(program: str) -> str:
    """The Python that a program is a script of, "" when it is none."""
    try:
        with Path(program).open("rb") as file:
            first, second = (file.readline(4096).decode("utf-8", "replace") for _ in range(2))
        words = first.removeprefix("#!").split() if first.startswith("#!") else []
        if words and Path(words[0]).name == "env":
            words = [found for word in words[1:] if not word.startswith("-") and (found := shutil.which(word))]
        if words and Path(words[0]).name == "sh" and second.startswith("'''exec'"):  # pip, below a long path
            words = shlex.split(second)[1:]
    except (OSError, ValueError):  # it cannot be read, or its quotes do not close
        return ""
    return words[0] if words and "python" in Path(words[0]).name and os.access(words[0], os.X_OK) else ""


def host_name(place: Workplace, deployment: Deployment) -> str:
    """What `hostname -f` says, "" when it fails."""
    try:
        quick = replace(place, timeout_s=min(10.0, place.timeout_s), log=None)
        finished = workplace.run(quick, deployment, ["hostname", "-f"], variables={})
    except OSError:
        return ""
    return "" if finished.status or finished.timed_out else finished.stdout.text().strip()


def run_tool(place: Workplace, deployment: Deployment, argv: list[str], cwd: Path = Path("/")) -> Outcome:
    """Run a tool that knows nothing of outputs; its status and streams are the outcome."""
    try:
        finished = workplace.run(place, deployment, argv, variables={}, cwd=cwd)
    except OSError as exc:
        return not_started(place, deployment, argv[0], exc)
    return workplace.outcome(place, replace(deployment, outputs=()), finished, deployment.group)


def child(place: Workplace, program: Path) -> str:
    """A program of our own for a tool's Python to run, where the user of the place can read it. Raises OSError."""
    if place.user is None:
        return str(program)
    copy, source = place.working / program.name, program.read_bytes()
    with acting_as(place.user):
        writing.write_file(copy, source, 0o600)
    return str(copy)


def not_started(place: Workplace, deployment: Deployment, program: str, exc: OSError) -> Outcome:
    """The outcome when a tool is there and cannot be executed, or what it needs cannot be prepared."""
    if place.user and isinstance(exc, PermissionError):
        where = f"{exc.filename or program} and the directories above {place.working}"
        message = (
            f"{program} for '{deployment.name}' could not be started: let user '{place.user.name}' pass to {where}\n"
        )
        return Outcome(model.STATUS_REFUSED, "", message)
    if exc.filename and str(exc.filename) != program:
        return writing.not_written(deployment, Path(exc.filename), exc)
    message = f"{program} for '{deployment.name}' could not be started: {exc.strerror}; see its first line and mode\n"
    return Outcome(model.STATUS_NOT_FOUND, "", message)
