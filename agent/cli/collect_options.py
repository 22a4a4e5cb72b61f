"""What `os-collect-config` can be told, spelled as it always was: flags, files, environment, `$name` in values.

The first of these wins: flag, environment, files. Of several files the later wins; keys that may be repeated add up.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent import __version__
from agent.collectors import COLLECTORS
from agent.errors import SettingsError
from agent.settings import FIELDS, Given, Ini, Settings, parse_ini

PROGRAM = "os-collect-config"
SECTIONS = ("ec2", "cfn", "heat", "request", "heat_local", "local", "zaqar", "keystone")
TRUE, FALSE = ("1", "true", "yes", "on"), ("0", "false", "no", "off", "")

TEXT, NUMBER, SWITCH, MANY = "text", "number", "switch", "many"

Values = dict[str, list[str]]


@dataclass(frozen=True, slots=True)
class Option:
    """One setting: `key` as in a file (`section.key`), its flags, what it takes and what it is without a word."""

    key: str
    about: str
    kind: str = TEXT
    default: str = ""
    flags: tuple[str, ...] = ()


def _option(key: str, about: str, kind: str = TEXT, default: str = "", *more: str, flag: str = "") -> Option:
    section, _, name = key.rpartition(".")
    usual = f"--{section}-{name.replace('_', '-')}" if section else f"--{name.replace('_', '-')}"
    return Option(key, about, kind, default, (flag or usual, *more))


_ALWAYS = (
    _option("command", "run this shell line when something changed", TEXT, "", "-c"),
    _option("cachedir", "directory of the cache", TEXT, "/var/lib/os-collect-config"),
    _option("backup_cachedir", "directory to copy the cache to", TEXT, "/var/run/os-collect-config"),
    _option("min_polling_interval", "seconds to the next poll after a change", NUMBER, "1"),
    _option("polling_interval", "longest time between two polls", NUMBER, "30", "-i"),
    _option("one_time", "poll once", SWITCH),
    _option("print_cachedir", "print the directory of the cache", SWITCH),
    _option("force", "run the command even without a change; implies --one-time", SWITCH),
    _option("print_only", "print what the sources say, run nothing", SWITCH, flag="--print"),
    _option("deployment_key", "root key that lists deployments", MANY, "deployments"),
    _option("splay", "longest random delay before the first poll", NUMBER, "0"),
    _option("debug", "say more", SWITCH, "", "-d"),
    _option("log_file", "log to this file", TEXT, "", "--logfile"),
    _option("log_dir", "log to a file in this directory", TEXT, "", "--logdir"),
    _option("use_json", "log as lines of JSON", SWITCH),
)
_PUSH = _option("zaqar.use_websockets", "be told of messages, beside polling; needs the extra zaqar-ws", SWITCH)
_WITHOUT_EFFECT = (
    _option("log_config_append", "no effect", TEXT, "", "--log-config"),
    _option("log_date_format", "no effect"),
    _option("syslog_log_facility", "no effect"),
    _option("watch_log_file", "no effect", SWITCH),
    _option("use_syslog", "no effect", SWITCH),
    _option("use_journal", "no effect: systemd takes standard error", SWITCH),
    _option("use_stderr", "no effect", SWITCH),
    _option("keystone.cache_dir", "no effect: tokens are kept in memory", flag="--keystone-cache_dir"),
    _option("keystone.cache_ttl", "no effect", flag="--keystone-cache_ttl"),
    _option("zaqar.ssl_certificate_validation", "no effect: always validated, see zaqar.ca_file", SWITCH),
)
_ODD = {"cfn.ca_certificate": "--cfn-ca_certificate"}
_TIMEOUTS = tuple(
    _option(f"{name}.timeout", "longest silence of the server, in seconds", NUMBER, "10")
    for name in ("ec2", "cfn", "request")
)
_OF_SOURCES = tuple(
    _option(key, known.metadata["help"], MANY if isinstance(known.default, tuple) else TEXT, flag=_ODD.get(key, ""))
    for key, known in FIELDS.items()
    if key.partition(".")[0] in SECTIONS and not key.endswith("polling_interval")
)
_CFN_KEY = _option("cfn.deployment_key", "root key that lists deployments, for this source", MANY)
OPTIONS = (*_ALWAYS, *_OF_SOURCES, _CFN_KEY, *_TIMEOUTS, _PUSH, *_WITHOUT_EFFECT)
BY_KEY = {option.key: option for option in OPTIONS}
COLLECTORS_DEFAULT = ("heat_local", "ec2", "cfn", "heat", "request", "local", "zaqar")


@dataclass(frozen=True, slots=True)
class Options:
    """What holds for one round."""

    settings: Settings = field(repr=False)
    command: str
    cachedir: Path
    backup: Path
    one_time: bool
    force: bool
    print_only: bool
    cfn_keys: tuple[str, ...]
    timeouts: Mapping[str, float]
    debug: bool
    log_file: Path | None
    use_json: bool
    use_websockets: bool

    def keys_of(self, source: str) -> tuple[str, ...]:
        """The root keys below which a source lists deployments."""
        return self.cfn_keys if source == "cfn" and self.cfn_keys else self.settings.deployment_key


@dataclass(frozen=True, slots=True)
class Told:
    """The command line, parsed once; files and environment are looked at again and again."""

    flags: Values = field(repr=False)
    files: tuple[str, ...] | None
    directories: tuple[str, ...] | None
    print_cachedir: bool = False


# ---------------------------------------------------------------------------------------------- command line


def parse(argv: Sequence[str]) -> Told:
    """The command line; a wrong one ends the program with 2, as argparse does."""
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [OPTION ...] [SOURCE ...]",
        description="Collects metadata and runs a command when it changed.",
    )
    parser.add_argument("--version", action="version", version=f"os-deploy-agent {__version__}")
    parser.add_argument("--config-file", action="append", metavar="PATH", help="read this file instead of the usual")
    parser.add_argument("--config-dir", action="append", metavar="DIR", help="read *.conf of this directory")
    parser.add_argument("--shell_completion", choices=("bash", "zsh"), help="print what completes this command")
    parser.add_argument("collectors", nargs="*", metavar="SOURCE", help=f"of: {' '.join(COLLECTORS)}")
    spelled = {}
    for option in OPTIONS:
        dest = f"option {option.key}"
        about = option.about.replace("%", "%%") + (f" (default: {option.default})" if option.default else "")
        match option.kind:
            case "switch":
                parser.add_argument(*option.flags, dest=dest, action="store_const", const="true", help=about)
                off = _negated(option)
                parser.add_argument(off, dest=dest, action="store_const", const="false", help=argparse.SUPPRESS)
                spelled[off.replace("_", "-")] = off
            case "many":
                parser.add_argument(*option.flags, dest=dest, action="append", metavar="VALUE", help=about)
            case "number":
                parser.add_argument(*option.flags, dest=dest, type=_number, metavar="SECONDS", help=about)
            case _:
                parser.add_argument(*option.flags, dest=dest, metavar="VALUE", help=about)
        spelled |= {flag.replace("_", "-"): flag for flag in option.flags if flag.startswith("--")}
    spelled |= {"--shell-completion": "--shell_completion"}
    arguments = parser.parse_intermixed_args([_as_spelled(word, spelled) for word in argv])
    if arguments.shell_completion:
        print(f'complete -W "{" ".join(sorted(spelled.values()))} {" ".join(COLLECTORS)}" {PROGRAM}')
        parser.exit(0)
    flags: Values = {}
    for name, value in vars(arguments).items():
        if name.startswith("option ") and value is not None:
            flags[name.removeprefix("option ")] = value if isinstance(value, list) else [str(value)]
    if arguments.collectors:
        flags["collectors"] = arguments.collectors
    return Told(
        {key: values for key, values in flags.items() if key != "print_cachedir"},
        None if arguments.config_file is None else tuple(arguments.config_file),
        None if arguments.config_dir is None else tuple(arguments.config_dir),
        flags.get("print_cachedir") == ["true"],
    )


def _negated(option: Option) -> str:
    """--noforce, but --zaqar-nouse-websockets."""
    flag = option.flags[0]
    section, _, _ = option.key.rpartition(".")
    prefix = f"--{section}-" if section else "--"
    return f"{prefix}no{flag.removeprefix(prefix)}"


def _as_spelled(word: str, spelled: Mapping[str, str]) -> str:
    """Dashes and underscores of a long flag are the same, as they are in a file."""
    name, is_pair, value = word.partition("=")
    known = spelled.get(name.replace("_", "-")) if name.startswith("--") else None
    return f"{known}{is_pair}{value}" if known else word


def _number(text: str) -> str:
    with suppress(ValueError):
        if 0 <= float(text) < float("inf"):
            return text
    raise argparse.ArgumentTypeError(f"invalid number of seconds: {text!r}")


# ----------------------------------------------------------------------------------------------------- files


def read(told: Told, environ: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """The configuration files as (name, text), lowest precedence first; a named one must be there (SettingsError)."""
    home = environ.get("HOME") or "~"
    places = (Path(home), Path("/etc"))
    usual = next((p / f"{PROGRAM}.conf" for p in places if (p / f"{PROGRAM}.conf").exists()), None)
    usual_directory = next((p / f"{PROGRAM}.conf.d" for p in places if (p / f"{PROGRAM}.conf.d").is_dir()), None)
    paths = [usual] if told.files is None and usual else []
    if told.directories is None and usual_directory:
        paths += sorted(usual_directory.glob("*.conf"))
    paths += [Path(name).expanduser() for name in told.files or ()]
    for name in told.directories or ():
        if not Path(name).expanduser().is_dir():
            raise SettingsError(f"reading the directory {name} of --config-dir: there is none")
        paths += sorted(Path(name).expanduser().glob("*.conf"))
    try:
        return tuple((str(path), path.read_text("utf-8")) for path in paths)
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"reading the settings: {exc}") from exc


# --------------------------------------------------------------------------------------------------- together


def options(told: Told, environ: Mapping[str, str], files: Sequence[tuple[str, str]]) -> Options:
    """What all places together say; raises SettingsError naming what is wrong."""
    values: Values = {}
    for name, text in files:
        for section, entries in parse_ini(text, name).items():
            for key, found in entries.items():
                where = key if section == "DEFAULT" else f"{section}.{key}"
                values[where] = [*values.get(where, []), *found]
    values |= _from_environment(environ) | told.flags
    values = {key: [_resolve(text, key, values) for text in texts] for key, texts in values.items()}
    values = {key: texts for key, texts in values.items() if any(texts)}  # a retired key is rendered empty: unset
    settings = _settings(values)
    return Options(
        settings=settings,
        command=_text(values, "command"),
        cachedir=Path(_text(values, "cachedir")).expanduser().absolute(),
        backup=Path(_text(values, "backup_cachedir")).expanduser().absolute(),
        one_time=_switch(values, "one_time") or _switch(values, "force"),
        force=_switch(values, "force"),
        print_only=_switch(values, "print_only"),
        cfn_keys=tuple(values.get("cfn.deployment_key", ())),
        timeouts={option.key.partition(".")[0]: _seconds(values, option.key) for option in _TIMEOUTS},
        debug=_switch(values, "debug"),
        log_file=_log_file(values),
        use_json=_switch(values, "use_json"),
        use_websockets=_switch(values, "zaqar.use_websockets"),
    )


def _from_environment(environ: Mapping[str, str]) -> Values:
    found: Values = {}
    for key in (*BY_KEY, "collectors"):
        section, _, name = key.rpartition(".")
        variable = f"OS_{section or 'DEFAULT'}__{name}".upper()
        if variable in environ:
            text = environ[variable]
            found[key] = text.split(",") if key == "collectors" or BY_KEY[key].kind == MANY else [text]
    return found


def _settings(values: Values) -> Settings:
    known = {key: texts for key, texts in values.items() if key in FIELDS}
    names = known.get("collectors", COLLECTORS_DEFAULT)
    # a list in JSON, as some templates wrote it
    known["collectors"] = [re.sub(r"[\[\]\"']", "", name) for name in names]
    ini: Ini = {}
    for key, texts in known.items():
        section, _, name = key.rpartition(".")
        ini.setdefault(section or "DEFAULT", {})[name] = texts
    settings = Given(Path("/"), files=((f"the settings of {PROGRAM}", ini),)).settings()
    unknown = [name for name in settings.collectors if name not in COLLECTORS]
    if unknown:
        raise SettingsError(f"no such source: {', '.join(unknown)}; known: {' '.join(COLLECTORS)}")
    return replace(
        settings,
        heat_local_path=tuple(_absolute(name) for name in settings.heat_local_path),
        local_path=tuple(_absolute(name) for name in settings.local_path),
        cfn_heat_metadata_hint=_absolute(settings.cfn_heat_metadata_hint),
    )


def _absolute(name: str) -> str:
    """Against the working directory, where the agent's own paths are all below its root."""
    return str(Path(name).absolute())


_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_.]*)|\{([A-Za-z_][A-Za-z0-9_.]*)\})")


def _resolve(text: str, key: str, values: Values, depth: int = 0) -> str:
    """`$name` and `${name}` are another setting, `$$` a dollar; what names no setting stays, for the shell."""
    section = key.rpartition(".")[0]

    def put(match: re.Match[str]) -> str:
        if match[1]:
            return "$"
        name = match[2] or match[3]
        for candidate in (f"{section}.{name}", name):
            if candidate != key and candidate in BY_KEY and depth < 8:
                found = values.get(candidate) or [BY_KEY[candidate].default]
                return _resolve(found[-1], candidate, values, depth + 1)
        return match[0]

    return _REFERENCE.sub(put, text)


def _text(values: Values, key: str) -> str:
    return values.get(key, [BY_KEY[key].default])[-1]


def _switch(values: Values, key: str) -> bool:
    text = _text(values, key).strip().lower()
    if text not in (*TRUE, *FALSE):
        raise SettingsError(f"setting {key}: {text!r} is neither true nor false")
    return text in TRUE


def _seconds(values: Values, key: str) -> float:
    text = _text(values, key)
    try:
        return float(_number(text))
    except argparse.ArgumentTypeError as exc:
        raise SettingsError(f"setting {key}: {text!r} is no number of seconds") from exc


def _log_file(values: Values) -> Path | None:
    name, directory = _text(values, "log_file"), _text(values, "log_dir")
    if not name and not directory:
        return None
    return Path(directory) / (name or f"{PROGRAM}.log")
