"""`agent keygen FILE`: a new private key for `agent sign`, and the public one for a policy."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", type=Path, help="where the private key goes; keep it off the guests")


def run(arguments: argparse.Namespace) -> int:
    from agent.trust import keys  # noqa: PLC0415 - cryptography, for those who sign

    public = keys.public(keys.create(arguments.file))
    print(f"# private key in {arguments.file}; for signers in /etc/os-deploy-agent/policy.yaml:")
    print(f"- name: {arguments.file.stem}\n  key: {public}  # {keys.identity(public)}")
    return 0
