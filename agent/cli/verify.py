"""`agent verify FILE…`: whose signature the software configs in files carry, and whether it fits."""

from __future__ import annotations

import argparse
from pathlib import Path

from agent.cli.main import given
from agent.errors import TrustError, UsageError
from agent.trust import judge, source
from agent.trust.statement import signed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="templates, properties or metadata")
    parser.add_argument(
        "--pin", metavar="NAME=VALUE", action="append", default=[], help="a pinned value that the file does not hold"
    )
    parser.add_argument("--public", metavar="KEY", action="append", help="a public key that counts; else the policy's")


def run(arguments: argparse.Namespace) -> int:
    """One line a config; the exit status is 1 when one of them is not signed as it should be."""
    from agent.trust import keys  # noqa: PLC0415 - cryptography, for those who verify
    from agent.trust.policy import Policy, Signer, signer_of  # noqa: PLC0415

    if arguments.public:
        named = [(key, keys.identity(key)) for key in arguments.public]
        policy = Policy(signers=tuple(Signer(identity, key, identity) for key, identity in named))
    else:
        policy = judge.load(given(arguments).settings().path(judge.POLICY))
        if not policy.signers:
            raise UsageError("the policy names no signers; say --public KEY")
    status = 0
    for path in arguments.files:
        for config in source.read(path):
            try:
                found = signed(source.with_values(config.config, source.pins(arguments.pin, config.config)))
                if found is None:
                    raise TrustError("it carries no signature; agent sign makes one")
                if unknown := found.valueless:
                    raise TrustError(
                        f"the value of {unknown[0]} is pinned, and not in this file; add --pin {unknown[0]}=VALUE"
                    )
                signer = signer_of(policy, found, str(config.config.get("group")), judge.now(), keys.fits)
            except TrustError as exc:
                print(f"{path}: {config.name}: {exc}")
                status = 1
            else:
                terms = found.terms
                print(f"{path}: {config.name}: signed by {signer.name} for '{terms.purpose}' until {terms.expires}")
    return status
