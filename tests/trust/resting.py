"""Deployments full of secrets, and a look at every file that a guest keeps."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.process.endpoint import Endpoint
from tests.process.guest import Guest

HOOK = "#!/bin/sh\necho ran >> $WITNESS\n"

SECRETS = {
    "deploy_auth_url": "http://127.0.0.1:9/secret-auth-url",
    "deploy_username": "secret-username",
    "deploy_user_id": "secret-user-id",
    "deploy_password": "secret-deploy-password",
    "deploy_project_id": "secret-project",
    "deploy_queue_id": "secret-queue",
    "db_password": "secret-by-name",
}
TYPED = "secret-by-type"
SIGNATURE = "secret-signature"


def deployment(endpoint: Endpoint, name: str, **more: Any) -> dict[str, Any]:
    """One that brings every secret that Heat or its author may give to it, and signals by a URL."""
    made = endpoint.script(name, more.pop("config", HOOK), **more)
    [url] = [given for given in made["inputs"] if given["name"] == "deploy_signal_id"]
    url["value"] += f"?Signature={SIGNATURE}"
    made["inputs"] += [{"name": key, "type": "String", "value": value} for key, value in SECRETS.items()]
    made["inputs"] += [
        {"name": "license", "type": "Secret", "value": TYPED},
        {"name": "port", "type": "Number", "value": 80, "default": 81},
    ]
    return made


ALL = (*SECRETS.values(), TYPED, SIGNATURE)


def found(guest: Guest, secrets: Iterable[str] = ALL) -> dict[str, list[str]]:
    """Which of these stand in which file that the agent keeps: its state, its marks, its logs."""
    files = [path for path in (guest.root / "var").rglob("*") if path.is_file()]
    texts = {str(path.relative_to(guest.root)): path.read_bytes() for path in files}
    kept = {file: [one for one in secrets if one.encode() in text] for file, text in texts.items()}
    return {file: those for file, those in kept.items() if those}


def mark(guest: Guest, name: str = "web") -> dict[str, Any]:
    content: dict[str, Any] = json.loads((guest.deployed / f"id-{name}.json").read_bytes())
    return content
