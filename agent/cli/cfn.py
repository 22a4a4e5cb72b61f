"""`cfn-init`, `cfn-get-metadata` and `cfn-create-aws-symlinks`; `cfn-signal` and `cfn-hup` have files of their own."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from agent import jsontext
from agent.apply import cfn_metadata
from agent.cli import cfn_log
from agent.cli.cfn_log import Log
from agent.errors import AgentError, Interrupted, SettingsError, Unavailable
from agent.merge import below

if TYPE_CHECKING:
    from agent.apply.cfn_model import Credentials, Fetch
    from agent.model import JsonMap


def main(name: str, argv: list[str]) -> int:
    log = cfn_log.opened(name)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return _door(name)(argv, log)
    except AgentError as exc:
        log.fail(str(exc))
        return 1
    except Interrupted:
        log.fail("ended by SIGTERM")
        return 143


def _door(name: str) -> cfn_log.Door:
    match name:
        case "cfn-init":
            return init
        case "cfn-get-metadata":
            return get_metadata
        case "cfn-create-aws-symlinks":
            return create_links
        case _:
            door: cfn_log.Door = import_module(f"agent.cli.{name.replace('-', '_')}").main
            return door


def _interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


# ---------------------------------------------------------------------------------------------- cfn-init


def init(argv: list[str], log: Log) -> int:
    """Do what the metadata's AWS::CloudFormation::Init says."""
    from agent.apply import cfn  # noqa: PLC0415 - the other doors need none of it

    parser = _parser("cfn-init", "Applies the AWS::CloudFormation::Init of a resource's metadata.")
    parser.add_argument("file", nargs="?", metavar="FILE", help="metadata to use, - for stdin")
    parser.add_argument("-c", "--configsets", default="", help="comma-separated configSets (default: default)")
    parser.add_argument("--resume", action="store_true", help="taken and not needed here")
    arguments = parser.parse_args(argv)
    log.tell_all(arguments.verbose)
    if warning := cfn_metadata.leak():
        log.warn(warning)
    plan = cfn.plan(_metadata(arguments, log), arguments.configsets.split(","))
    for warning in plan.warnings:
        log.warn(warning)
    fetch = _fetch(plan.credentials, _proxy(arguments))
    for config in plan.configs:
        log.tell(f"config {config.name}")
        cfn.run(config, fetch, log.tell)
    return 0


def _fetch(credentials: Mapping[str, Credentials], proxy: str) -> Fetch:
    """What fetches by URL; the client is made by the first one that is fetched."""

    @cache
    def fetcher() -> Fetch:
        from agent.apply import cfn_fetch  # noqa: PLC0415 - 20 ms for those who fetch something
        from agent.transport import Client  # noqa: PLC0415 - as above

        return cfn_fetch.fetcher(Client(cfn_fetch.LIMITS, proxy=proxy), credentials)

    def fetch(url: str, name: str) -> AbstractContextManager[Path]:
        return fetcher()(url, name)

    return fetch


def _metadata(arguments: argparse.Namespace, log: Log) -> JsonMap:
    """The metadata: of the named file, of the API where there are credentials, of this guest otherwise."""
    if arguments.file:
        return _from_file(arguments.file)
    metadata = _remote(arguments, log)
    if metadata is None:
        metadata = cfn_metadata.local(arguments.resource or "", log.tell)
    cfn_metadata.remember(arguments.resource or "", metadata, log.warn)
    return metadata


def _from_file(name: str) -> JsonMap:
    try:
        data = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as exc:
        raise SettingsError(f"reading {name}: {exc.strerror}") from exc
    return jsontext.decode_map(data, name)


def _remote(arguments: argparse.Namespace, log: Log) -> JsonMap | None:
    """What the API says; None without credentials, or when it does not answer. A refusal is an error."""
    if not arguments.credential_file and not (arguments.access_key and arguments.secret_key):
        return None
    from agent.apply import cfn_api  # noqa: PLC0415 - 20 ms for those who have credentials
    from agent.transport import Client, Limits  # noqa: PLC0415 - as above

    pair = arguments.access_key, arguments.secret_key
    if arguments.credential_file:
        pair = cfn_api.credentials(Path(arguments.credential_file))
    if not arguments.stack or not arguments.resource:
        raise SettingsError("asking the CloudFormation API: --stack and --resource are wanted with credentials")
    access = cfn_api.Access(cfn_api.endpoint(arguments.url or ""), *pair)
    client = Client(Limits(), proxy=_proxy(arguments))
    try:
        found = cfn_api.describe(client, access, arguments.stack, arguments.resource)
    except Unavailable as exc:
        log.warn(f"{exc}; going on with what was seen last")
        return None
    if found is None:
        raise SettingsError(f"stack {arguments.stack} has no resource {arguments.resource}; look at --resource")
    return found.metadata


# ---------------------------------------------------------------------------------------- cfn-get-metadata


def get_metadata(argv: list[str], log: Log) -> int:
    """Print the metadata of a resource, or one value of it, as JSON."""
    parser = _parser("cfn-get-metadata", "Prints the metadata of a resource as JSON.", required=True)
    parser.add_argument("-k", "--key", help="dotted key of one value; 'a.b'.c and a\\.b.c hold a dot in a name")
    arguments = parser.parse_args(argv)
    log.tell_all(arguments.verbose)
    metadata = _remote(arguments, log)
    if metadata is None:
        metadata = cfn_metadata.local(arguments.resource, log.tell)
    cfn_metadata.remember(arguments.resource, metadata, log.warn)
    try:
        found = below(metadata, cfn_metadata.key_parts(arguments.key) if arguments.key else ())
    except KeyError as exc:
        log.fail(f"key {arguments.key} is not present in the metadata of {arguments.resource}: no {exc}")
        return 1
    print(json.dumps(found))
    return 0


# ---------------------------------------------------------------------------------- cfn-create-aws-symlinks


def create_links(argv: list[str], _log: Log) -> int:
    """Link the cfn-* programs where AWS's images have them."""
    parser = argparse.ArgumentParser(prog="cfn-create-aws-symlinks", description="Links cfn-* into another directory.")
    parser.add_argument("-t", "--target", default="/opt/aws/bin", help="where the links go (default: %(default)s)")
    parser.add_argument("-s", "--source", default="/usr/bin", help="where the programs are (default: %(default)s)")
    parser.add_argument("-f", "--force", action="store_true", help="replace what is there")
    arguments = parser.parse_args(argv)
    source, target = Path(arguments.source).absolute(), Path(arguments.target).absolute()
    print(f"{source} -> {target}")
    if source.resolve() == target.resolve():
        print(f"Source and target are the same {target}")
        raise SettingsError(f"linking into {target}: that is where the programs are; choose another --target")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for program in sorted(source.glob("cfn-*")):
            _link(target / program.name, program, force=arguments.force)
    except OSError as exc:
        raise SettingsError(f"linking into {target}: {exc.strerror}") from exc
    return 0


def _link(link: Path, program: Path, *, force: bool) -> None:
    if os.path.lexists(link) and not force:
        print(f"{link} already exists, will not replace with symlink; see --force")
        return
    print(f"{program} -> {link}")
    temporary = link.with_name(f".{link.name}.{os.getpid()}.tmp")
    temporary.symlink_to(program)
    try:
        temporary.replace(link)
    except OSError:  # a directory is in its place
        temporary.unlink()
        raise


# --------------------------------------------------------------------------------------------- arguments


def _parser(name: str, about: str, *, required: bool = False) -> argparse.ArgumentParser:
    """The flags that both families of these tools have."""
    parser = argparse.ArgumentParser(prog=name, description=about)
    flag = partial(parser.add_argument, metavar="VALUE")
    flag("-s", "--stack", required=required, help="name of the stack")
    flag("-r", "--resource", required=required, help="logical name of the resource")
    flag("--access-key", help="EC2 access key")
    flag("--secret-key", help="EC2 secret key")
    flag("-f", "--credential-file", help="file with AWSAccessKeyId= and AWSSecretKey=")
    flag("-u", "--url", help="CloudFormation API up to /v1/ (default: what cloud-init left)")
    flag("--region", help="taken and not needed here")
    flag("--role", help="taken and not needed here")
    flag("--http-proxy", help="proxy for http")
    flag("--https-proxy", help="proxy for https")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell every step")
    return parser


def _proxy(arguments: argparse.Namespace) -> str:
    chosen: str = arguments.https_proxy or arguments.http_proxy or ""
    return chosen if not chosen or "://" in chosen else f"http://{chosen}"
