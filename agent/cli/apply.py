"""`os-apply-config` (and its older name `os-config-applier`): the old command line over our templates and placer."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from agent import __version__, layout
from agent.apply import values
from agent.errors import AgentError, Interrupted

if TYPE_CHECKING:  # the model is 10 ms of classes, and `--key` has none to spare
    from agent.model import JsonMap

LOG_FILE = Path("/var/log/os-apply-config.log")
LOG_LIMIT = 1 << 20

FAILED = 2
"""What --check ends with on an error; otherwise it is 1."""


def main(name: str, argv: list[str]) -> int:
    arguments = _parse(name, argv, os.environ)
    if arguments.print_templates:
        print(arguments.templates)
        return 0
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _run(arguments, os.environ)
    except AgentError as exc:
        _say("ERROR", str(exc))
        return FAILED if arguments.check else 1
    except Interrupted:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
        return 143


def _run(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    paths = arguments.metadata
    if not paths:
        paths, warning = values.sources(environ, arguments.os_config_files)
        if warning:
            _say("WARNING", warning)
    metadata = values.read([*arguments.fallback_metadata, *paths])
    if arguments.key is not None:
        if arguments.boolean_key is not None:
            _say("WARNING", "--key is not compatible with --boolean-key. --boolean-key ignored.")
        return _print_key(arguments, metadata, paths)
    if arguments.boolean_key is not None:
        found = values.value(metadata, arguments.boolean_key)
        return (0 if found else 1) if isinstance(found, bool) else 255
    from agent.cli import apply_tree  # noqa: PLC0415 - the keys above need none of it

    return apply_tree.apply(arguments, metadata, environ, _say)


def _print_key(arguments: argparse.Namespace, metadata: JsonMap, paths: list[str]) -> int:
    found = values.value(metadata, arguments.key)
    if found is not None:
        text = values.spelled(found, arguments.type)
    elif arguments.key_default is not None:
        text = arguments.key_default
    else:
        _say("ERROR", f"key {arguments.key} does not exist in {paths}")
        return 1
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()
    return 0


# ---------------------------------------------------------------------------------------------- arguments


def _parse(name: str, argv: list[str], environ: Mapping[str, str]) -> argparse.Namespace:
    templates, old = layout.templates(environ)
    parser = argparse.ArgumentParser(
        prog=name, description="Renders templates with the metadata, prints one value of it, or tells what differs."
    )
    flag = parser.add_argument
    flag("-t", "--templates", metavar="ROOT", default=templates, help="root of the templates (default: %(default)s)")
    flag("-o", "--output", metavar="DIR", default="/", help="root of what is written (default: %(default)s)")
    flag(
        "-m",
        "--metadata",
        metavar="FILE",
        nargs="*",
        action="extend",
        default=[],
        help="metadata, later files win; in place of OS_CONFIG_FILES and the list file; may be given again",
    )
    flag(
        "--fallback-metadata",
        metavar="FILE",
        nargs="*",
        default=list(values.FALLBACK),
        help="read below all other metadata (default: %(default)s)",
    )
    flag("-v", "--validate", action="store_true", help="render everything, write nothing")
    flag("--print-templates", action="store_true", help="print the root of the templates and exit")
    flag("-s", "--subhash", metavar="KEY", help="use the object at this dotted key as the metadata")
    flag("--key", metavar="KEY", help="print the value at this dotted key and exit")
    flag("--type", default="default", help=f"what --key must be: {', '.join(values.TYPES)} (default: %(default)s)")
    flag("--key-default", metavar="TEXT", help="what --key prints, unchecked, for a key that is not there")
    flag("--boolean-key", metavar="KEY", help="exit 0 when the value is true, 1 when false, 255 when neither")
    flag("--version", action="version", version=f"{name} (os-deploy-agent {__version__})")
    flag("--os-config-files", metavar="FILE", help=f"JSON list of metadata files (default: {values.LIST_FILE})")
    flag(
        "--check", action="store_true", help="write nothing; exit 0 when all is as it should be, 1 when not, 2 on error"
    )
    flag("--diff", action="store_true", help="write nothing; print what would change")
    flag("--json", action="store_true", help="print what became of each path as JSON")
    arguments = parser.parse_args(argv)
    if old and arguments.templates == templates:
        advice = f"The recommended location for template files is {layout.TEMPLATES}"
        _say("WARNING", f"Template directory {old} is deprecated.  {advice}")
    return arguments


# ---------------------------------------------------------------------------------------------------- log


def _say(level: str, *texts: str) -> None:
    """Lines in the old form, on stderr and, for root, in the old log file, which is kept short."""
    now = time.strftime("%Y/%m/%d %I:%M:%S %p")
    lines = "".join(f"[{now}] [{level}] {text}\n" for text in texts)
    sys.stderr.write(lines)
    if os.geteuid() == 0:
        with suppress(OSError):  # a log that cannot be written is no reason to leave files unwritten
            _append(LOG_FILE, lines)


def _append(path: Path, lines: str) -> None:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    if path.exists() and path.stat().st_size > LOG_LIMIT:
        path.replace(path.with_name(f"{path.name}.1"))
    fd = os.open(path, flags, 0o640)
    try:
        os.write(fd, lines.encode("utf-8", "replace"))
    finally:
        os.close(fd)


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)
