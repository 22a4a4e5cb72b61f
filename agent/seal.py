"""Secrets on disk that only who has the key can read: AES-GCM, each bound to the input and the deployment it is of.

The key is a file of at least 32 bytes: what the setting `seal_key` names, else the service's credential. With none of
them nothing is sealed, and cryptography is not loaded.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

from agent import jsontext
from agent.errors import MetadataError, SettingsError
from agent.model import JsonMap
from agent.settings import Settings

CREDENTIAL = "os-deploy-agent.key"
SHORTEST = 32
_NONCE = 12  # bytes, as NIST SP 800-38D wants it


class Seal:
    """One key. Raises SettingsError where this Python has no cryptography."""

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - for who seals
        except ImportError as exc:
            raise SettingsError(
                "sealing secrets: this Python has no cryptography; install it (the extra crypto), or take the key away"
            ) from exc
        self._cipher = AESGCM(hashlib.sha256(key).digest())

    def close(self, key: str, name: str, values: JsonMap) -> str:
        """The values of the input `name` of the deployment `key`, as text that says nothing."""
        nonce = os.urandom(_NONCE)
        return base64.b64encode(
            nonce + self._cipher.encrypt(nonce, json.dumps(values).encode(), _place(key, name))
        ).decode()

    def open(self, key: str, name: str, text: str) -> JsonMap | None:
        """The same values again; None when they were sealed with another key, for another place, or changed since."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415 - as above

        try:
            data = base64.b64decode(text, validate=True)
            plain = self._cipher.decrypt(data[:_NONCE], data[_NONCE:], _place(key, name))
            return jsontext.decode_map(plain, "sealed values")
        except (InvalidTag, ValueError, MetadataError):
            return None


def load(settings: Settings, environ: Mapping[str, str]) -> Seal | None:
    """The seal of this guest, None when it has no key. Raises SettingsError when there is one that cannot be used."""
    directory = environ.get("CREDENTIALS_DIRECTORY")  # systemd.exec(5), LoadCredentialEncrypted=
    given = Path(directory) / CREDENTIAL if directory else None
    if settings.seal_key:
        path = settings.path(settings.seal_key)
    elif given and given.exists():
        path = given
    else:
        return None
    try:
        key = path.read_bytes()
    except OSError as exc:
        raise SettingsError(f"reading the key {path}: {exc.strerror}; see seal_key") from exc
    if len(key) < SHORTEST:
        raise SettingsError(f"reading the key {path}: {len(key)} bytes; at least {SHORTEST} random ones are wanted")
    return Seal(key)


def _place(key: str, name: str) -> bytes:
    return json.dumps([key, name]).encode()
