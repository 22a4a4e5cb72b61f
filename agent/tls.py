"""Which certificates are believed, which are our own, from which version on TLS is spoken, and when a certificate ends.

What speaks TLS asks here: the client for HTTP, the websocket, the doctor. `ssl` is imported where it is used.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from agent.settings import Settings

if TYPE_CHECKING:
    import ssl

_FILES = ("ca_file", "client_cert", "client_key")
_BLOCK = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.*?)-----END", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME, _TIME = 0x30, 0xA0, 0x17, 0x18


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for https: whose certificates are believed ("": the system's), and our own with its key, "" for none."""

    ca_file: str = ""
    client_cert: str = ""
    client_key: str = ""

    @property
    def own(self) -> str | tuple[str, str] | None:
        """Our certificate as requests takes it; without a key of its own the file holds both."""
        if self.client_cert and self.client_key:
            return self.client_cert, self.client_key
        return self.client_cert or None


NO_TLS = Tls()


def files(settings: Settings, section: str) -> Tls:
    """The certificates of a source: each file that its section does not name is the one of all."""
    names = {"ca_file": "ca_certificate"} if section == "cfn" else {}
    found = (getattr(settings, f"{section}_{names.get(name, name)}", "") or getattr(settings, name) for name in _FILES)
    return Tls(*found)


def context(bundle: str, certificates: Tls = NO_TLS) -> ssl.SSLContext:
    """How a client speaks: at least TLS 1.2 (RFC 8996) whatever this machine permits, certificate and name verified.

    `bundle` is a file or a directory of CAs. Raises OSError (ssl.SSLError is one) for files that cannot be used.
    """
    import ssl  # noqa: PLC0415 - 13 ms

    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_verify_locations(**{"capath" if Path(bundle).is_dir() else "cafile": bundle})
    if certificates.client_cert:
        made.load_cert_chain(certificates.client_cert, certificates.client_key or None)
    return made


# ---------------------------------------------------------------------------------------- when certificates end


def ends_of(certificates: Tls) -> dict[str, float]:
    """When the files end that are named (seconds since the epoch); what cannot be read is left to who uses it.

    A file of several ends with its last one: old and new stand together in it while an authority is replaced.
    """
    found = {}
    for name in dict.fromkeys(filter(None, (certificates.ca_file, certificates.client_cert))):
        try:
            if end := _last_end(name, Path(name).stat().st_mtime_ns):
                found[name] = end
        except (OSError, ValueError):
            continue
    return found


@lru_cache(maxsize=16)
def _last_end(name: str, _mtime_ns: int) -> float:
    """Read again only when the file has changed; 0 where there is no certificate in it, as in a directory."""
    path = Path(name)
    return max((ends_at(der) for der in _certificates(path.read_bytes())), default=0.0) if path.is_file() else 0.0


def _certificates(pem: bytes) -> Iterator[bytes]:
    for block in _BLOCK.finditer(pem):
        yield base64.b64decode(block[1])


def ends_at(der: bytes) -> float:
    """The notAfter of a certificate in DER, in seconds since the epoch. Raises ValueError for anything else.

    Certificate -> tbsCertificate -> version, serial, signature, issuer, validity (RFC 5280, 4.1).
    """
    _, certificate, _ = _element(der)
    _, rest, _ = _element(certificate)
    tag, _, after = _element(rest)
    rest = after if tag == _VERSION else rest  # absent in a certificate of version 1
    for _ in ("serial", "signature", "issuer"):
        _, _, rest = _element(rest)
    tag, validity, _ = _element(rest)
    if tag != _SEQUENCE:
        raise ValueError("no certificate: its validity is missing")
    _, _, rest = _element(validity)  # notBefore
    tag, text, _ = _element(rest)
    return _moment(tag, text.decode("ascii"))


def _moment(tag: int, text: str) -> float:
    """YYMMDDHHMMSSZ until 2049 (RFC 5280, 4.1.2.5.1), else with four digits of the year."""
    if tag not in (_UTC_TIME, _TIME):
        raise ValueError("no certificate: its end is no time")
    century = "" if tag == _TIME else "19" if text[:2] >= "50" else "20"
    return datetime.strptime(f"{century}{text}", "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc).timestamp()


def _element(data: bytes) -> tuple[int, bytes, bytes]:
    """The first element of DER: its tag, its content, and what follows it."""
    if len(data) < 2:
        raise ValueError("no certificate: it is cut short")
    start, length = 2, data[1]
    if length & 0x80:
        start += length & 0x7F
        length = int.from_bytes(data[2:start], "big")
    if start + length > len(data):
        raise ValueError("no certificate: it is cut short")
    return data[0], data[start : start + length], data[start + length :]
