"""`agent man DIR`: manual pages, made from the parsers that `--help` is made of and from the table of settings."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from agent import __version__
from agent.cli import main, syntax
from agent.cli.syntax import Argument, Command
from agent.errors import StateError
from agent.settings import FIELDS, flag_of

STATUSES = (
    ("0", "fine"),
    ("1", "a deployment failed"),
    ("2", "degraded: a source did not answer, or an outcome could not be delivered yet"),
    ("64", "wrong usage"),
    ("74, 75", "the state cannot be kept or read; another agent holds it"),
    ("78", "a setting is wrong"),
)
FILES = (
    ("/etc/os-deploy-agent/*.conf", "settings; later names win"),
    ("/var/lib/heat-config/deployed/", "a mark and an outcome for each deployment"),
    ("/var/lib/os-deploy-agent/", "the agent's own state"),
    ("/var/log/os-deploy-agent/", "what each deployment printed"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("directory", metavar="DIR", type=Path, help="for example /usr/local/share/man/man1")


def run(arguments: argparse.Namespace) -> int:
    directory = arguments.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in pages():
            (directory / name).write_text(text, "utf-8")
    except OSError as exc:
        raise StateError(f"writing manual pages into {directory}: {exc.strerror}; name another directory") from exc
    return 0


def pages() -> Iterator[tuple[str, str]]:
    """Each page by its file name: agent(1) and one for each command."""
    commands = tuple(syntax.commands())
    for command in commands:
        yield f"{_title(command)}.1", "\n".join(_page(command, commands)) + "\n"


def _title(command: Command) -> str:
    return f"agent-{command.name}" if command.name else "agent"


def _page(command: Command, commands: Sequence[Command]) -> Iterator[str]:
    title = _title(command)
    yield f'.TH {_text(title.upper())} 1 "" "os-deploy-agent {__version__}" "os-deploy-agent"'
    yield from (".SH NAME", f"{_text(title)} \\- {_text(command.about)}")
    yield from (".SH SYNOPSIS", _text(command.usage))
    yield from (".SH DESCRIPTION", _text(main.sentence(command.about)))
    if command.positionals:
        yield ".SH ARGUMENTS"
        for argument in command.positionals:
            yield from _item(argument.value, _about(argument))
    yield ".SH OPTIONS"
    for option in command.options:
        yield from _item(_flags(option), _about(option))
    if not command.name:
        yield from _settings()
        yield ".SH COMMANDS"
        for other in commands[1:]:
            yield from (".TP", f".BR {_text(_title(other))} (1)", _text(main.sentence(other.about)))
    yield ".SH EXIT STATUS"
    for status, meaning in STATUSES:
        yield from _item(status, meaning)
    yield ".SH FILES"
    for path, what in FILES:
        yield from _item(path, what)
    others = [other for other in commands if other.name in ("", "status", "show", "log") and other is not command]
    yield from (".SH SEE ALSO", ",\n".join(f".BR {_text(_title(other))} (1)" for other in others))


def _settings() -> Iterator[str]:
    yield from (".SH SETTINGS", "Each is a flag of every command as well, and a key of the settings files.")
    for key, known in FIELDS.items():
        yield from _item(f"{flag_of(key)} VALUE", main.sentence(known.metadata["help"]))


def _item(term: str, text: str) -> Iterator[str]:
    yield from (".TP", f"\\fB{_text(term)}\\fR", _text(text))


def _flags(option: Argument) -> str:
    value = f" [{option.value}]" if option.optional else f" {option.value}" if option.value else ""
    return ", ".join(option.flags) + value


def _about(argument: Argument) -> str:
    choices = f" One of {', '.join(argument.choices)}." if argument.choices else ""
    return main.sentence(argument.about) + choices if argument.about else choices.strip()


def _text(text: str) -> str:
    """Text that roff takes as it stands: no request at the beginning of a line, no escape, every dash a dash."""
    escaped = text.replace("\\", "\\e").replace("-", "\\-").replace('"', "\\(dq").replace("\n", " ")
    return f"\\&{escaped}" if escaped[:1] in (".", "'") else escaped
