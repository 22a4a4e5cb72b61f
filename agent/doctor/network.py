"""How far we come towards a URL: name, connection, TLS, and the server's clock. Each step in a bounded child."""

from __future__ import annotations

import email.utils
import errno
import http.client
import json
import socket
import ssl
import time
from dataclasses import dataclass
from urllib.parse import SplitResult
from urllib.request import getproxies, proxy_bypass

from agent import child, tls, transport, urls
from agent.settings import Settings
from agent.tls import Tls

LONGEST_S = 40.0
CONNECT_S = 10.0
SKEW_S = 300.0  # a quarter of an hour is what Keystone takes; a machine with a time service is within a second
_NO_ROUTE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL}
_EXPIRED, _NOT_YET, _NAME, _ADDRESS = 10, 9, 62, 64  # X509_V_ERR_* of openssl/x509_vfy.h


@dataclass(frozen=True, slots=True)
class Reached:
    """What came of it: the code of a cause, "" when nothing is wrong, and what to say. `skew_s`: we are ahead."""

    shown: str
    code: str = ""
    text: str = ""
    skew_s: float = 0.0


def reach(url: str, settings: Settings, section: str) -> Reached:
    """Try the way to a URL as a source of this section goes it; takes LONGEST_S at most."""
    shown = transport.show(url)
    parts = urls.split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return Reached(shown, "settings-broken", "not an http or https URL")
    proxy = _proxy(parts, settings)
    if proxy:
        said = child.ask(lambda: _dump(_connect(urls.split(proxy))), LONGEST_S)
        code, text, skew = _load(said)
        return Reached(f"{shown} by proxy {transport.show(proxy)}", "proxy" if code else "", text, skew)
    certificates = tls.files(settings, section)
    code, text, skew = _load(child.ask(lambda: _dump(_converse(parts, certificates)), LONGEST_S))
    return Reached(shown, code, text, skew)


def _proxy(parts: SplitResult, settings: Settings) -> str:
    if settings.proxy:
        return settings.proxy
    if proxy_bypass(parts.hostname or ""):
        return ""
    proxies = getproxies()
    return proxies.get(parts.scheme, "") or proxies.get("all", "")


def _dump(result: tuple[str, str, float]) -> bytes:
    return json.dumps(result).encode()


def _load(said: bytes | None) -> tuple[str, str, float]:
    if said is None:
        return "no-answer", f"nothing within {LONGEST_S:.0f} s", 0.0
    code, text, skew = json.loads(said)
    return str(code), str(text), float(skew)


# ------------------------------------------------------------------------------------------- in the child


def _connect(parts: SplitResult) -> tuple[str, str, float]:
    result = _open(parts)
    if isinstance(result, socket.socket):
        result.close()
        return "", "answers", 0.0
    return (*result, 0.0)


def _open(parts: SplitResult) -> socket.socket | tuple[str, str]:
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as exc:
        return "dns", f"{host}: {exc.strerror}"
    fault = ("dns", f"{host}: no address")
    for family, kind, protocol, _, address in found[:3]:
        link = socket.socket(family, kind, protocol)
        link.settimeout(CONNECT_S)
        try:
            link.connect(address)
        except OSError as exc:
            link.close()
            fault = (_code(exc), f"{address[0]} port {port}: {exc.strerror or 'no answer'}")
        else:
            return link
    return fault


def _code(exc: OSError) -> str:
    if isinstance(exc, ConnectionRefusedError):
        return "connection-refused"
    return "no-route" if exc.errno in _NO_ROUTE else "no-answer"


def _converse(parts: SplitResult, certificates: Tls) -> tuple[str, str, float]:
    """Connect, speak TLS where the URL wants it, and ask for the time."""
    link = _open(parts)
    if not isinstance(link, socket.socket):
        return (*link, 0.0)
    if parts.scheme == "https":
        try:
            context = tls.context(transport.bundle(certificates), certificates)
            link = context.wrap_socket(link, server_hostname=parts.hostname)
        except ssl.SSLCertVerificationError as exc:
            return (*_judge_certificate(exc), 0.0)
        except (ssl.SSLError, OSError) as exc:
            return "tls-failed", f"{parts.hostname}: {exc.strerror or exc}", 0.0
    return _ask_time(link, parts)


def _judge_certificate(exc: ssl.SSLCertVerificationError) -> tuple[str, str]:
    codes = {_EXPIRED: "tls-expired", _NOT_YET: "clock-skew", _NAME: "tls-name", _ADDRESS: "tls-name"}
    return codes.get(exc.verify_code, "tls-untrusted"), exc.verify_message


def _ask_time(link: socket.socket, parts: SplitResult) -> tuple[str, str, float]:
    """HEAD of the path without its query; whatever it answers has a Date."""
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    connection.sock = link
    try:
        connection.request("HEAD", parts.path or "/")
        date = connection.getresponse().getheader("Date", "")
    except TimeoutError:
        return "no-answer", f"connected, and no answer within {CONNECT_S:.0f} s", 0.0
    except (OSError, http.client.HTTPException):  # whoever wants the document will say more
        return "", "answers", 0.0
    finally:
        connection.close()
    try:
        skew = time.time() - email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return "", "answers", 0.0
    if abs(skew) > SKEW_S:
        text = f"our clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} the server's"
        return "clock-skew", text, skew
    return "", "answers", skew
