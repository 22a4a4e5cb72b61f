"""`agent`: the command line. Each command is a module that is imported when it is asked for.

Also reached by the old command names (`heat-config`, …): the program looks at the name it was called by.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agent import __version__
from agent.errors import AgentError

if TYPE_CHECKING:
    from agent.settings import Given

# name -> (module with add_arguments(parser) and run(arguments) -> exit status, what it does)
COMMANDS = {
    "run": ("agent.cli.run", "poll and deploy until SIGTERM (the daemon)"),
    "plan": ("agent.cli.plan", "say what the next cycle would do, and do nothing"),
    "status": ("agent.cli.status", "say what waits, runs, failed or is not signalled yet, and what to do"),
    "doctor": ("agent.cli.doctor", "find out why a deployment is stuck, and say what to do"),
    "show": ("agent.cli.show", "tell everything known of one deployment, secrets masked"),
    "log": ("agent.cli.log", "print what a deployment has printed, or prints just now"),
    "history": ("agent.cli.history", "list what was deployed here, oldest first"),
    "timeline": ("agent.cli.timeline", "draw what took how long, from the boot to the last signal"),
    "rerun": ("agent.cli.rerun", "let a deployment be run once more"),
    "signal": ("agent.cli.signal", "tell Heat an outcome by hand"),
    "cancel": ("agent.cli.cancel", "end a hook that runs, with all that belongs to it"),
    "hook": ("agent.cli.hook", "run one deployment from stdin by hand"),
    "validate": ("agent.cli.validate", "name every fault of the settings and of metadata files"),
    "apply": ("agent.cli.files", "place the files of a document, or show what would change"),
    "sync": ("agent.cli.sync", "clean up after docker-cmd, docker-compose or kubelet deployments that left"),
    "keygen": ("agent.cli.keygen", "make a key to sign software configs with"),
    "sign": ("agent.cli.sign", "sign a software config and print the options for its template"),
    "verify": ("agent.cli.verify", "tell whose signature software configs carry, and whether it fits"),
    "policy": ("agent.cli.policy", "explain what this guest's policy decides"),
    "report": ("agent.cli.report", "write a support bundle without secrets"),
    "replay": ("agent.cli.replay", "make the decisions of a support bundle again"),
    "completion": ("agent.cli.completion", "print a script that completes this command in a shell"),
    "man": ("agent.cli.man", "write the manual pages into a directory"),
    "serve": ("agent.cli.serve", "serve a metadata file and take signals, on loopback"),
    "doors": ("agent.cli.doors", "install or remove links of the old command names"),
}

# old command name -> module with main(argv) -> exit status
DOORS = {
    "heat-config": "agent.cli.compat",
    "heat-config-notify": "agent.cli.compat",
    "heat-config-rebuild-deployed": "agent.cli.rebuild",
    "os-collect-config": "agent.cli.collect",
    "os-apply-config": "agent.cli.apply",
    "os-config-applier": "agent.cli.apply",
    "os-refresh-config": "agent.cli.refresh",
    "dib-run-parts": "agent.cli.refresh",
    "kolla_set_configs": "agent.cli.kolla",
    "kolla_start": "agent.cli.kolla",
    "cfn-init": "agent.cli.cfn",
    "cfn-signal": "agent.cli.cfn",
    "cfn-hup": "agent.cli.cfn",
    "cfn-get-metadata": "agent.cli.cfn",
    "cfn-create-aws-symlinks": "agent.cli.cfn",
}


def entry() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:], Path(sys.argv[0]).name))


def main(argv: Sequence[str], name: str = "agent") -> int:
    """Run one command; returns its exit status. Errors of the world become one line on stderr."""
    gc.disable()  # nothing that is loaded is garbage, and looking for some is a tenth of many a command's time
    try:
        if name in DOORS:
            door = import_module(DOORS[name])
            _loaded()
            status: int = door.main(name, list(argv))
        else:
            status = _agent(list(argv))
    except AgentError as exc:
        print(f"agent: {exc}", file=sys.stderr)
        return exc.exit_status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    finally:
        gc.enable()
    return status


def _loaded() -> None:
    """From here on garbage is looked for, but not among what is there already."""
    gc.freeze()
    gc.enable()


def _agent(argv: list[str]) -> int:
    command = next((word for word in argv if word in COMMANDS), "")
    parser = _parser(command, whole=bool(argv) and not (command and _only_common(argv)))
    arguments = parser.parse_args(argv)
    from agent import log  # noqa: PLC0415 - most doors write no events

    log.set_level(arguments.log_level)
    if command:
        module = import_module(COMMANDS[command][0])
        if command != "status":  # which ends before garbage matters
            _loaded()
        status: int = module.run(arguments)
        return status
    if arguments.once:
        from agent.cli import run  # noqa: PLC0415 - only the asked command is imported

        _loaded()
        return run.once(arguments)
    parser.print_help()
    if not argv:
        print("\nBegin with agent plan or agent --once. All flags: agent --help; one command: agent COMMAND --help")
    return 64


def _only_common(argv: list[str]) -> bool:
    """Whether no option needs the table of settings, whose 60 flags cost more than many a command's work."""
    options = {word.partition("=")[0] for word in argv if word.startswith("-")}
    return options <= {"--root", "--log-level", "--json"}


def _parser(command: str, *, whole: bool = True) -> Parser:
    """The parser for `agent`; only the asked command's own arguments are added to it.

    Unless it is `whole`, it knows neither the flags of the settings nor other commands.
    """
    parser = Parser(
        prog="agent",
        usage="agent [--root DIR] [--log-level LEVEL] [SETTING ...] (--once | COMMAND ...)",
        description="Runs a guest's SoftwareDeployments and tells the endpoint the truth.",
    )
    parser.add_argument("--version", action="version", version=f"os-deploy-agent {__version__}")
    parser.add_argument("--once", action="store_true", help="collect, run what is due, signal, exit")
    _add_common(parser)
    if whole:
        _add_settings(parser)
    commands = parser.add_subparsers(prog="agent", metavar="COMMAND", dest="command")
    for name, (module, about) in [(command, COMMANDS[command])] if command and not whole else COMMANDS.items():
        sub = commands.add_parser(name, help=about, description=sentence(about))
        if name == command:
            _add_common(sub, suppress=True)
            if whole:
                _add_settings(sub, suppress=True)
            import_module(module).add_arguments(sub)
    return parser


def parser_for(command: str) -> Parser:
    """The parser whose --help tells all of one command, or of `agent` itself ("")."""
    if not command:
        return _parser("")
    module, about = COMMANDS[command]
    parser = Parser(prog=f"agent {command}", description=sentence(about))
    _add_common(parser)
    import_module(module).add_arguments(parser)
    return parser


def sentence(about: str) -> str:
    return f"{about[0].upper()}{about[1:]}."


class _Help(argparse.HelpFormatter):
    """argparse asks shutil for the width, each time an argument is added; that import alone costs 4 ms."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


@cache
def _columns() -> int:
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) > 0:
        return int(columns)
    try:
        return os.get_terminal_size().columns or 80
    except OSError:  # no terminal
        return 80


class Parser(argparse.ArgumentParser):
    """argparse ends with 2, which means "degraded" here; wrong usage is sysexits' 64.

    It remembers its `arguments`, of which completion and manual pages are made.
    """

    def __init__(self, **parameters: Any) -> None:
        self.arguments: list[argparse.Action] = []
        self._asked_again = False
        super().__init__(**{"formatter_class": _Help, **parameters})

    def add_argument(self, *names: Any, **parameters: Any) -> argparse.Action:
        action = super().add_argument(*names, **parameters)
        self.arguments.append(action)
        return action

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Options may stand between a word and a list of words, too, which argparse takes for the list's end."""
        words = [action for action in self.arguments if not action.option_strings]
        if self._asked_again or len(words) < 2 or words[-1].nargs != "*":
            return super().parse_known_args(args, namespace)
        self._asked_again = True
        return self.parse_known_intermixed_args(args, namespace)

    def exit(self, status: int = 0, message: str | None = None) -> None:  # type: ignore[override]
        super().exit(64 if status == 2 else status, message)


def _add_common(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    """Arguments that every command takes; on a subcommand they only count when given."""
    from agent.log import LEVELS  # noqa: PLC0415 - most doors write no events

    def default(value: object) -> object:
        return argparse.SUPPRESS if suppress else value

    parser.add_argument(
        "--root", type=Path, default=default(Path("/")), help="keep and look for everything below this directory"
    )
    parser.add_argument("--log-level", choices=sorted(LEVELS), default=default("info"), help="default: info")


def _add_settings(parser: argparse.ArgumentParser, *, suppress: bool = False) -> None:
    """A flag for each setting; every command takes them, and `agent --help` tells them."""
    from agent.settings import FIELDS, flag_of  # noqa: PLC0415 - 20 ms that most doors do without

    about = "see agent --help" if suppress else "each also in /etc/os-deploy-agent/*.conf, see the reference"
    group = parser.add_argument_group("settings", about)
    for key, known in FIELDS.items():
        shown = "" if known.metadata["secret"] else f" (default: {_shown(known.default)})"
        group.add_argument(
            flag_of(key),
            dest=f"setting {key}",
            metavar="VALUE",
            default=argparse.SUPPRESS,
            help=argparse.SUPPRESS if suppress else (known.metadata["help"] + shown).replace("%", "%%"),
        )


def _shown(value: object) -> str:
    return ",".join(value) if isinstance(value, tuple) else f"{value:g}" if isinstance(value, float) else str(value)


def given(arguments: argparse.Namespace) -> Given:
    """What the settings are made of, from the command line, the environment and the files."""
    from agent.settings import Given, read_files  # noqa: PLC0415 - as above

    prefix = "setting "
    flags = {name.removeprefix(prefix): value for name, value in vars(arguments).items() if name.startswith(prefix)}
    root = arguments.root.absolute()
    return Given(root, flags, dict(os.environ), tuple(read_files(root, os.environ)))
