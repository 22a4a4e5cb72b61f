"""`agent sign FILE`: signs a software config and prints the options to put into its template."""

from __future__ import annotations

import argparse
import re
import sys
import time
from pathlib import Path

from agent.errors import TrustError, UsageError
from agent.model import Json, JsonMap
from agent.trust import source
from agent.trust.source import Named
from agent.trust.statement import OPTION, Terms, statement

DAY_S = 86400


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="a HOT template, or the properties of one config")
    parser.add_argument("--key", metavar="KEYFILE", type=Path, required=True, help="a private key of agent keygen")
    parser.add_argument("--resource", metavar="NAME", help="which config of a template; needed where there are several")
    parser.add_argument("--purpose", default="any", help="what it is for; a policy may ask for one (default: any)")
    parser.add_argument("--expires", default="365d", help="2027-01-31T00:00:00Z, or in how many days (default: 365d)")
    parser.add_argument(
        "--pin", metavar="NAME=VALUE", action="append", default=[], help="sign the value of an input, too; repeatable"
    )


def run(arguments: argparse.Namespace) -> int:
    from agent.trust import keys  # noqa: PLC0415 - cryptography, for those who sign

    named = _chosen(source.read(arguments.file), arguments.resource)
    pins = source.pins(arguments.pin, named.config)
    key = keys.load(arguments.key)
    terms = Terms(
        keys.identity(keys.public(key)), arguments.purpose, _expires(arguments.expires, time.time()), tuple(pins)
    )
    try:
        value = keys.sign(key, statement(source.with_values(named.config, pins), terms))
    except TrustError as exc:
        raise TrustError(f"signing {named.name}: {exc}") from exc
    _print(named, terms.option(value), pins)
    return 0


def _print(named: Named, signature: JsonMap, pins: dict[str, Json]) -> None:
    import yaml  # noqa: PLC0415 - as above

    options = named.config.get("options")
    snippet: JsonMap = {"options": {**(options if isinstance(options, dict) else {}), OPTION: signature}}
    print(f"# for the properties of {named.name}")
    print(yaml.safe_dump(snippet, sort_keys=False), end="")
    free = [name for name in source.input_types(named.config) if name not in pins]
    if free and sys.stderr.isatty():
        print(f"not covered: the values of {', '.join(free)}; --pin NAME=VALUE covers one", file=sys.stderr)


def _chosen(found: tuple[Named, ...], name: str | None) -> Named:
    fitting = [named for named in found if name in (None, named.name)]
    if len(fitting) == 1:
        return fitting[0]
    names = ", ".join(named.name for named in found) or "none"
    raise UsageError(f"which software config? --resource takes one of: {names}")


def _expires(text: str, now_s: float) -> str:
    """A time as signatures write it, from one or from a number of days."""
    if days := re.fullmatch(r"([0-9]{1,5})d", text):
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s + int(days[1]) * DAY_S))
    try:
        time.strptime(text, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError as exc:
        raise UsageError(f"--expires {text!r} is neither 2027-01-31T00:00:00Z nor 365d") from exc
    return text
