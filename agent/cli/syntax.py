"""What can be typed, as values: the commands and their arguments, taken from the parsers that `--help` is made of."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from agent.cli import main


@dataclass(frozen=True, slots=True)
class Argument:
    """An option (`flags`) or a positional argument (none). `value` is what it takes, "" for nothing."""

    flags: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    optional: bool
    about: str

    @property
    def takes(self) -> str:
        """What kind of thing stands there: file, directory, deployment, one of `choices`, or anything."""
        if self.choices:
            return "choice"
        kinds = {"DIR": "directory", "FILE": "file", "ID": "deployment", "ROOT": "directory", "PATH": "file"}
        return kinds.get(self.value, "anything" if self.value else "")


@dataclass(frozen=True, slots=True)
class Command:
    """`name` is "" for `agent` itself; `usage` its first line of help."""

    name: str
    about: str
    usage: str
    arguments: tuple[Argument, ...]

    @property
    def options(self) -> tuple[Argument, ...]:
        return tuple(argument for argument in self.arguments if argument.flags)

    @property
    def positionals(self) -> tuple[Argument, ...]:
        return tuple(argument for argument in self.arguments if not argument.flags)


def commands() -> Iterator[Command]:
    """`agent` itself first, then its commands in their order."""
    for name in ("", *main.COMMANDS):
        parser = main.parser_for(name)
        usage = " ".join(parser.format_usage().removeprefix("usage:").split())
        about = main.COMMANDS[name][1] if name else "run the software deployments of this guest"
        arguments = tuple(_argument(action) for action in parser.arguments if action.help != argparse.SUPPRESS)
        yield Command(name, about, usage, arguments)


def _argument(action: argparse.Action) -> Argument:
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    choices = tuple(str(choice) for choice in action.choices or ())
    return Argument(
        flags=tuple(action.option_strings),
        value="" if action.nargs == 0 else value,
        choices=choices,
        optional=action.nargs in ("?", "*"),
        about=(action.help or "") % vars(action),
    )
