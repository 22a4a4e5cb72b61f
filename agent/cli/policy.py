"""`agent policy check FILE…`: what this guest's policy says to the deployments of metadata files, and why."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from agent import jsontext, parse
from agent.cli.main import given
from agent.errors import MetadataError
from agent.trust import judge


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=["check"], help="explain what the policy decides")
    parser.add_argument("files", metavar="FILE", nargs="*", type=Path, help="metadata; none: the policy alone")
    parser.add_argument("--policy", metavar="FILE", type=Path, help="another policy than this guest's")
    parser.add_argument("--source", help="the source that the metadata is to come from")


def run(arguments: argparse.Namespace) -> int:
    """One line a deployment; the exit status is 1 when one is refused, and 77 when the policy cannot be used."""
    from agent.trust import keys, policy  # noqa: PLC0415 - cryptography, for those who have a policy

    settings = given(arguments).settings()
    path = arguments.policy or settings.path(judge.POLICY)
    rules = judge.load(path)
    print(f"{path}: version {policy.VERSION}, {len(rules.signers)} signer(s), no fault")
    refused = 0
    for file in arguments.files:
        try:
            content = jsontext.decode_map(file.read_bytes(), str(file))
        except OSError as exc:
            raise MetadataError(f"reading {file}: {exc.strerror}") from exc
        for deployment in parse.deployments(parse.document(str(file), content), settings.deployment_key).deployments:
            seen = replace(deployment, source=arguments.source) if arguments.source else deployment
            judged = rules if arguments.source else replace(rules, sources=None)
            why = policy.refusal(judged, seen, judge.now(), keys.fits)
            refused += bool(why)
            print(f"{file}: {deployment.name}: {f'refused by {why}' if why else 'allowed'}")
    return 1 if refused else 0
