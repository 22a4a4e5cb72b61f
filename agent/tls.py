"""Which certificates are believed, which are our own, from which version on TLS is spoken, and when a certificate ends.

What speaks TLS asks here: the client for HTTP, the websocket, the doctor. `ssl` is imported where it is used.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import timezone
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from agent import child
from agent.settings import Settings

if TYPE_CHECKING:
    import ssl

_FILES = ("ca_file", "client_cert", "client_key")
_BLOCK = rb"(?s)-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----"
READING_S = 30.0


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
    said = child.ask(lambda: _read_ends(Path(name)), READING_S)
    return float(said) if said else 0.0


def _read_ends(path: Path) -> bytes:
    """The latest end of the certificates in a file, in a process that may load cryptography."""
    try:
        from cryptography import x509  # noqa: PLC0415 - heavy, and only where files are named
    except ImportError:  # an extra: without it nobody is told beforehand
        return b""
    ends = []
    for block in re.findall(_BLOCK, path.read_bytes()) if path.is_file() else ():
        with suppress(ValueError):
            certificate = x509.load_pem_x509_certificate(block)
            # what cryptography had before version 42 does not say that it is in UTC
            end = getattr(certificate, "not_valid_after_utc", None) or certificate.not_valid_after
            ends.append(end.replace(tzinfo=timezone.utc).timestamp())
    return str(max(ends, default="")).encode()


def end_of(link: ssl.SSLSocket) -> float:
    """When the certificate ends that the server at the other end has shown, 0 where none was verified."""
    import ssl  # noqa: PLC0415 - loaded by whoever has made the link

    certificate = link.getpeercert() or {}
    return float(ssl.cert_time_to_seconds(str(certificate["notAfter"]))) if "notAfter" in certificate else 0.0
