"""`agent completion bash|zsh`: a script that completes this command, made from the parsers that `--help` is made of.

eval "$(agent completion bash)"
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterable, Iterator, Sequence

from agent.cli import main, syntax
from agent.cli.syntax import Argument, Command
from agent.settings import FIELDS, flag_of

DEPLOYMENTS = r"""agent history --json 2>/dev/null | sed -n 's/^ *"name": "\([A-Za-z0-9_.-]*\)",*$/\1/p'"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=sorted(SHELLS), help="which shell's")


def run(arguments: argparse.Namespace) -> int:
    print("\n".join(SHELLS[arguments.shell](tuple(syntax.commands()))))
    return 0


# -------------------------------------------------------------------------------------------------- bash


def bash(commands: Sequence[Command]) -> Iterator[str]:
    yield from (
        "# bash completion for agent; written by: agent completion bash",
        '_agent_words() { COMPREPLY+=($(compgen -W "$1" -- "$2")); }',
        "_agent() {",
        "    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= word",
        '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
        f"        case $word in {'|'.join(main.COMMANDS)}) command=$word; break;; esac",
        "    done",
        "    COMPREPLY=()",
        '    case "$command $previous" in',
    )
    for command in commands:
        for option in command.options:
            if option.value and not option.optional:
                yield f"        {_patterns(command, option)}) {_bash_value(option)}; return;;"
    yield f"        *' '{'|*'.join(_flags_of_settings())}) COMPREPLY=($(compgen -f -- \"$current\")); return;;"
    yield from ("    esac", "    case $command in")
    for command in commands:
        words = " ".join(flag for option in command.options for flag in option.flags)
        yield f"        {shlex.quote(command.name)})"
        yield f'            case $current in -*) _agent_words {shlex.quote(words)} "$current"; return;; esac'
        if not command.name:
            yield f'            _agent_words {shlex.quote(" ".join(main.COMMANDS))} "$current"'
        for positional in command.positionals:
            yield f"            {_bash_value(positional)}"
        yield "            ;;"
    yield from ("    esac", "}", "complete -F _agent agent os-deploy-agent")


def _patterns(command: Command, option: Argument) -> str:
    return "|".join(shlex.quote(f"{command.name} {flag}") for flag in option.flags)


def _flags_of_settings() -> Iterable[str]:
    return [flag_of(key) for key in FIELDS]


def _bash_value(argument: Argument) -> str:
    match argument.takes:
        case "choice":
            return f'_agent_words {shlex.quote(" ".join(argument.choices))} "$current"'
        case "deployment":
            return f'_agent_words "$({DEPLOYMENTS})" "$current"'
        case "directory":
            return 'COMPREPLY+=($(compgen -d -- "$current"))'
        case "file":
            return 'COMPREPLY+=($(compgen -f -- "$current"))'
        case _:
            return ":"


# --------------------------------------------------------------------------------------------------- zsh


def zsh(commands: Sequence[Command]) -> Iterator[str]:
    yield from (
        "#compdef agent os-deploy-agent",
        "# zsh completion for agent; written by: agent completion zsh",
        f'_agent_deployments() {{ compadd -- ${{(f)"$({DEPLOYMENTS})"}} }}',
        "_agent() {",
        "    local command= word",
        "    for word in ${words[2,CURRENT-1]}; do",
        f"        case $word in ({'|'.join(main.COMMANDS)}) command=$word; break;; esac",
        "    done",
        "    case $command in",
    )
    for command in commands:
        specs = [spec for option in command.options for spec in _zsh_option(option)]
        if not command.name:
            names = " ".join(f"{name}\\:{_zsh_quoted(about)}" for name, (_, about) in main.COMMANDS.items())
            specs.append(f"1:command:(({names}))")
        else:  # the command itself is the first word that is no option
            specs.append("1:command:")
            specs += [f"{n}:{p.value or p.choices}:{_zsh_action(p)}" for n, p in enumerate(command.positionals, 2)]
        yield f"        ({shlex.quote(command.name)}) _arguments {' '.join(shlex.quote(spec) for spec in specs)};;"
    yield from (
        "    esac",
        "}",
        'if [ "$funcstack[1]" = _agent ]; then _agent "$@"; else compdef _agent agent os-deploy-agent; fi',
    )


def _zsh_option(option: Argument) -> Iterator[str]:
    about = f"[{_zsh_quoted(option.about)}]"
    for flag in option.flags:
        value = f":{'' if not option.optional else ':'}{option.value}:{_zsh_action(option)}" if option.value else ""
        yield f"{flag}{about}{value}"


def _zsh_action(argument: Argument) -> str:
    match argument.takes:
        case "choice":
            return f"({' '.join(argument.choices)})"
        case "deployment":
            return "_agent_deployments"
        case "directory":
            return "_files -/"
        case "file":
            return "_files"
        case _:
            return ""


def _zsh_quoted(text: str) -> str:
    return "".join(f"\\{c}" if c in "\\[]:()'\" " else c for c in text.replace("\n", " "))


SHELLS = {"bash": bash, "zsh": zsh}
