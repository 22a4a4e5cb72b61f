"""`kolla_set_configs` and `kolla_start`: the old command lines over our placer."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from agent import process
from agent.apply import kolla, scene_act
from agent.apply.kolla_document import InvalidConfig, MissingRequiredSource
from agent.errors import ApplyError, Interrupted

ALWAYS, ONCE = "COPY_ALWAYS", "COPY_ONCE"
SAME, DIFFERS, FAILED = 0, 1, 2
EXTENSION = "kolla_extend_start"
BEFORE = ("kolla_copy_cacerts", "kolla_install_projects")

# The extension is sourced, as ever: it may export variables, set ARGS, replace CMD, or exit.
EXTENDED = """\
set -o errexit -o nounset -o pipefail
extension=$1 CMD=$2 given=$2 ARGS=""; shift 2; argv=("$@"); set --
. "$extension"
echo "Running command: '${CMD}${ARGS:+ $ARGS}'"
if [[ "$CMD" == "$given" ]]; then exec "${argv[@]}" $ARGS; fi
exec $CMD $ARGS
"""


def main(name: str, argv: list[str]) -> int:
    arguments = _parse(name, argv)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if name == "kolla_start":
            return _start(arguments.root.absolute(), os.environ)
        return _set_configs(arguments, os.environ)
    except Interrupted:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return 143


# ------------------------------------------------------------------------------------ kolla_set_configs


def _set_configs(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    root = arguments.root.absolute()
    try:
        return _check(root) if arguments.check else _apply(root, environ.get("KOLLA_CONFIG_STRATEGY"))
    except (InvalidConfig, MissingRequiredSource) as exc:
        _say("ERROR", f"{type(exc).__name__}: {exc}")
        return 1
    except ApplyError as exc:
        _say("ERROR", str(exc))
        return FAILED


def _apply(root: Path, strategy: str | None) -> int:
    document = kolla.read(root)
    if strategy not in {ALWAYS, ONCE}:
        raise InvalidConfig(f"KOLLA_CONFIG_STRATEGY is not set properly: it must be {ALWAYS} or {ONCE}")
    if strategy == ONCE and kolla.configured(root):
        _say("ERROR", "ImmutableConfig: the config strategy prevents copying new configs")
        return 0
    plan = kolla.plan(document, root, once=strategy == ONCE)
    for warning in plan.warnings:
        _say("WARNING", warning)
    scene_act.apply(plan)
    for path in plan.paths:
        _say("INFO", f"placed /{path.relative_to(root)}")
    return 0


def _check(root: Path) -> int:
    document = kolla.read(root)
    if not kolla.applied(root):
        _say("ERROR", f"NeverApplied: there is no {kolla.COMMAND}; run kolla_set_configs first")
        return FAILED
    plan = kolla.plan(document, root)
    paths = [f"/{path.relative_to(root)}" for path in plan.paths]
    if not paths:
        return SAME
    if kolla.COMMAND in paths:
        _say("ERROR", f"ConfigFileCommandDiffers: {kolla.COMMAND} does not hold the document's command")
    if plan.withdrawn:
        _say("ERROR", f"StateMismatch: would be restored or removed: {', '.join(plan.withdrawn)}")
    _say("ERROR", f"ConfigFileBadState: would be changed: {', '.join(paths)}")
    return DIFFERS


# ------------------------------------------------------------------------------------------ kolla_start


def _start(root: Path, environ: Mapping[str, str]) -> int:
    """Place the files, prepare, then become the command. Returns only when something fails."""
    failed = _place(root, environ)
    if failed:
        return failed
    for program in BEFORE:
        if shutil.which(program):
            status = _run_as_root([program])
            if status:
                _say("ERROR", f"{program} ended with {status}; the command was not started")
                return status
    text = (root / kolla.COMMAND.lstrip("/")).read_text(encoding="utf-8", errors="surrogateescape")
    try:
        argv = shlex.split(text)
    except ValueError as exc:
        _say("ERROR", f"splitting the command: {exc}; look at its quotes")
        return FAILED
    if not argv:
        _say("ERROR", "the command is empty; there is nothing to start")
        return FAILED
    sys.stdout.flush()
    extension = None if "KOLLA_SKIP_EXTEND_START" in environ else _extension(environ)
    if extension:
        argv = ["bash", "-c", EXTENDED, "kolla_start", extension, text, *argv]
    else:
        print(f"Running command: '{text}'", flush=True)
    return _become(argv)


def _place(root: Path, environ: Mapping[str, str]) -> int:
    """As root, here; else by sudo, which images allow for this one program."""
    if os.geteuid() == 0 or root != Path("/"):
        return _set_configs(argparse.Namespace(root=root, check=False), environ)
    return _run_as_root(["kolla_set_configs"])


def _run_as_root(argv: list[str]) -> int:
    sudo = [] if os.geteuid() == 0 else ["sudo", "-E"]
    try:
        return process.attend([*sudo, *argv], env=os.environ, deadline=float("inf")).status
    except OSError as exc:
        _say("ERROR", f"starting {argv[0]}: {exc.strerror}")
        return 127


def _extension(environ: Mapping[str, str]) -> str | None:
    """The script to source, where a shell would find it: it need not be executable."""
    listed = environ.get("PATH", process.DEFAULT_PATH).split(":")
    found = (Path(directory, EXTENSION) for directory in listed if directory)
    return next((str(path) for path in found if path.is_file()), None)


def _become(argv: list[str]) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - to become the command is what it is for
    except OSError as exc:
        _say("ERROR", f"starting {argv[0]}: {exc.strerror}")
        return 126 if isinstance(exc, PermissionError) else 127


# -------------------------------------------------------------------------------------------------- rest


def _parse(name: str, argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=name, description=f"Applies {kolla.CONFIG_FILES}/config.json, or config.yaml."
    )
    parser.add_argument("--root", metavar="DIR", type=Path, default=Path("/"), help="take this directory for /")
    if name == "kolla_set_configs":
        parser.add_argument(
            "--check",
            action="store_true",
            help="write nothing; exit 0 when all is as it should be, 1 when not, 2 on error",
        )
    return parser.parse_args(argv)


def _say(level: str, text: str) -> None:
    print(f"{level}:kolla_set_configs:{text}", file=sys.stderr)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
