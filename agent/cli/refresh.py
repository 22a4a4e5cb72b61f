"""`os-refresh-config` and `dib-run-parts`: the old command lines over our phases."""

from __future__ import annotations

import argparse
import errno
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from agent import layout, ownership, parts, phases
from agent.errors import ApplyError, Busy, Interrupted

LEVELS = {"DEBUG": 10, "INFO": 20, "WARN": 30, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}

USAGE = """\
Usage: dib-run-parts [OPTION] scripts_directory
Option:
      --list  print names of all valid files

Examples:
      dib-run-parts --list /opt/stack/os-config-refresh/configure.d/
      dib-run-parts /opt/stack/os-config-refresh/configure.d/
"""


def main(name: str, argv: list[str]) -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        return {"os-refresh-config": os_refresh_config, "dib-run-parts": dib_run_parts}[name](argv, os.environ)
    except Interrupted as exc:  # the scripts are ended by now; our caller shall see what ended us
        number = exc.args[0]
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        return 128 + int(number)


# --------------------------------------------------------------------------------------- os-refresh-config


def os_refresh_config(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run all phases; 0, 1 when a script failed, EAGAIN when another run has the lock."""
    arguments = _parse(argv)
    threshold = LEVELS[arguments.log_level]

    def tell(level: str, text: str) -> None:
        if LEVELS[level] >= threshold:
            _line(f"[{_now()}] (os-refresh-config) [{level}] {text}\n")

    base, old = layout.phases(environ)
    if old:
        tell("WARNING", f"Base directory {old} is deprecated. The recommended base directory is {layout.PHASES}")
    if arguments.print_base:
        print(base)
        return 0
    if arguments.print_phases:
        print("\t".join(phases.PHASES))
        return 0
    if layout.PHASES_VARIABLE not in environ and (others := ownership.tree_writable_by_others(Path(base))):
        tell("ERROR", f"No script is run: {others}")
        return 1
    try:
        lock = phases.Lock(Path(arguments.lockfile))
    except Busy as exc:
        tell("ERROR", str(exc))
        return errno.EAGAIN
    except ApplyError as exc:
        tell("ERROR", str(exc))
        return 1
    try:
        timeout_s = float(arguments.timeout) if (arguments.timeout or 0) > 0 else parts.FOREVER
        return 1 if phases.refresh(base, environ, _say, tell, timeout_s=timeout_s).failed else 0
    finally:
        lock.release()


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="os-refresh-config",
        description="Runs the scripts of all phases to configure this machine. The first that fails ends the run. "
        "OS_REFRESH_CONFIG_BASE_DIR names the directory of the phases.",
    )
    parser.add_argument("--print-base", action="store_true", help="print the base directory and exit")
    parser.add_argument("--print-phases", action="store_true", help="print the phases (tab separated) and exit")
    parser.add_argument("--log-level", default="INFO", choices=["ERROR", "WARN", "CRITICAL", "INFO", "DEBUG"])
    parser.add_argument("--lockfile", default=phases.LOCK_FILE, help="one run at a time (default: %(default)s)")
    parser.add_argument("--timeout", type=int, metavar="SECONDS", help="end the run, and all it started, after this")
    return parser.parse_args(argv)


def _now() -> str:
    now = time.time()
    return f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(now))},{int(now * 1000) % 1000:03d}"


# ------------------------------------------------------------------------------------------- dib-run-parts


def dib_run_parts(argv: list[str], environ: Mapping[str, str]) -> int:
    """Run, or list, the scripts of one directory; the status of the first that fails."""
    listing = argv[:1] == ["--list"]
    operands = argv[1:] if listing else argv
    if not argv:
        sys.stderr.write(USAGE)
        return 1
    directory = operands[0] if operands else ""
    if not Path(directory or "/nonexistent").is_dir():
        _say(f"Scripts directory [{directory}] must exist and be a directory")
        sys.stderr.write(USAGE)
        return 1
    try:
        if listing:
            names = parts.present(directory, environ)
            sys.stdout.write("".join(f"{directory}/{name}\n" for name in names))
            return 0
        done = parts.run_parts(directory, environ, _say)
    except (ApplyError, OSError) as exc:
        _say(f"Cannot run the scripts of {directory}: {exc}")
        return 1
    if not done.status:
        for line in parts.profile(done):
            _say(line)
    return done.status


def _say(text: str) -> None:
    _line(f"dib-run-parts {time.strftime('%a %b %e %H:%M:%S %Z %Y')} {text}\n")


def _line(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
