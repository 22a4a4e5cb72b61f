"""Ed25519 keys and signatures; the only module that imports cryptography."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agent.errors import TrustError


def create(path: Path) -> Ed25519PrivateKey:
    """A new private key in a file of mode 0600 that must not be there yet. Raises TrustError."""
    key = Ed25519PrivateKey.generate()
    data = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(fd)
    except OSError as exc:
        raise TrustError(f"writing the private key {path}: {exc.strerror}; a key is never overwritten") from exc
    return key


def load(path: Path) -> Ed25519PrivateKey:
    """The private key in a PEM file. Raises TrustError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except OSError as exc:
        raise TrustError(f"reading the private key {path}: {exc.strerror}; agent keygen makes one") from exc
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise TrustError(
            f"reading the private key {path}: no unencrypted PEM of a key; agent keygen makes one"
        ) from exc
    if not isinstance(key, Ed25519PrivateKey):
        raise TrustError(f"reading the private key {path}: not Ed25519; agent keygen makes one")
    return key


def public(key: Ed25519PrivateKey) -> str:
    """The public key of a private one, as policies name it: 32 bytes in base64."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def identity(public_key: str) -> str:
    """The short name of a public key: 16 hex digits of its SHA-256. Raises TrustError when it is no key."""
    return hashlib.sha256(_raw(public_key)).hexdigest()[:16]


def sign(key: Ed25519PrivateKey, statement: bytes) -> bytes:
    return key.sign(statement)


def fits(public_key: str, value: bytes, statement: bytes) -> bool:
    """Whether `value` is the signature of this key over `statement`."""
    try:
        Ed25519PublicKey.from_public_bytes(_raw(public_key)).verify(value, statement)
    except InvalidSignature:
        return False
    return True


def _raw(public_key: str) -> bytes:
    try:
        data = base64.b64decode(public_key, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if len(data) != 32:
        raise TrustError(
            f"{public_key[:60]!r} is no Ed25519 public key (32 bytes in base64, as agent keygen prints it)"
        )
    return data
