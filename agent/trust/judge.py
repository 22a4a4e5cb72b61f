"""The policy file of this guest, applied: judged in a child, so that the daemon loads neither YAML nor cryptography."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from agent import child, ownership
from agent.errors import StateError, TrustError
from agent.model import Deployment
from agent.settings import Settings

if TYPE_CHECKING:
    from agent.trust.policy import Policy

POLICY = "/etc/os-deploy-agent/policy.yaml"
JUDGE_S = 60.0
LARGEST = 1 << 20


def refusal(deployment: Deployment, settings: Settings) -> str:
    """Why the owner of this guest does not let a deployment run; "" when he does, or has written no policy.

    Whatever goes wrong with judging it is a refusal, too. Raises StateError when there is no room for a process.
    """
    path = settings.path(POLICY)
    if not os.path.lexists(path):
        return ""
    try:
        said = child.ask(lambda: judged(deployment, path).encode("utf-8", "replace"), JUDGE_S)
    except OSError as exc:
        raise StateError(f"judging {deployment.id} by {path}: {exc.strerror}; end other processes") from exc
    if said is None:
        return _sentence(path, f"it could not be judged within {JUDGE_S:.0f} s; try agent policy check")
    return said.decode("utf-8", "replace")


def judged(deployment: Deployment, path: Path) -> str:
    """As `refusal`, in this process."""
    from agent.trust import keys, policy  # noqa: PLC0415 - only for those who have a policy

    try:
        why = policy.refusal(load(path), deployment, now(), keys.fits)
    except TrustError as exc:
        why = str(exc)
    return _sentence(path, why) if why else ""


def load(path: Path) -> Policy:
    """The policy in a file that only its owner can write. Raises TrustError naming the rule at fault."""
    from agent.trust import keys, policy, source  # noqa: PLC0415 - as above

    try:
        if others := ownership.writable_by_others(path):
            raise TrustError(f"policy not used: {others}")
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as exc:
        raise TrustError(f"reading the policy {path}: {exc.strerror}") from exc
    if len(data) > LARGEST:
        raise TrustError(f"reading the policy {path}: more than {LARGEST} bytes")
    return policy.parse(source.yaml(data, str(path)), keys.identity)


def now() -> str:
    """The time as signatures write it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _sentence(path: Path, why: str) -> str:
    return f"refused by {path}: {why}"
