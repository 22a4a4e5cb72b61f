"""HTTP, and the only module that imports requests.

One request has a total deadline whatever the server does (a dripping answer never trips a read timeout), no answer
grows beyond its limit, no token follows a redirect to another host, and every failure is one of ours.
"""

from __future__ import annotations

import io
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import urljoin

from agent import tls, urls
from agent.answers import Response, judge
from agent.errors import Refused, SettingsError, StateError, Unavailable
from agent.settings import Settings
from agent.tls import NO_TLS, Tls

if TYPE_CHECKING:
    import requests
    from requests.adapters import HTTPAdapter

MAX_REDIRECTS = 5
READ_CHUNK = 1 << 16
HOSTS = 32  # most servers whose certificates are remembered


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one request: times in seconds, size in bytes."""

    connect_s: float = 5.0
    read_s: float = 10.0
    total_s: float = 30.0
    size: int = 16 << 20


class _OutOfTime(Exception):
    """The total deadline fired within a request."""


class Client:
    """Connections that are kept open between requests. One per process; made cheap, connected on first use."""

    def __init__(
        self,
        limits: Limits,
        *,
        tls: Tls = NO_TLS,
        proxy: str = "",
        user_agent: str = "os-deploy-agent",
        insecure: bool = False,
        before: Callable[[], object] = lambda: None,
    ) -> None:
        self.limits = limits
        self._before = before  # each request: a watchdog hears that the one before it has ended
        self._tls = tls
        self._proxy = proxy
        self._insecure = insecure  # no look at certificates: for the one old command that has such a flag
        self._headers = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self.ends: dict[str, float] = {}  # of the certificates that servers have shown, by scheme and host
        self._adapter: HTTPAdapter | None = None
        self._routes: dict[tuple[str, str], dict[str, str]] = {}

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        elsewhere: bool = False,
        sink: IO[bytes] | None = None,
    ) -> Response:
        """One request, answered with a success; one that only asks, below 400.

        Raises Unavailable (no answer, 5xx, 429 …: worth another try later), Refused (any other answer) and
        SettingsError for a URL or a certificate that cannot be used. The query of the URL never appears in a message.
        With `elsewhere` a redirect may lead to another host, which then sees none of the `headers`. The body of a
        success goes to the `sink`, where there is one, in place of what an earlier try has left in it.
        """
        shown = show(url)
        if urls.split(url).scheme not in ("http", "https") or not urls.split(url).hostname:
            raise SettingsError(f"{method} {shown}: not an http or https URL; look at where it comes from")
        self._before()
        if self._adapter is None:  # before the alarm is set, which would leave libraries half imported
            self._connect()
        try:
            with _deadline(self.limits.total_s):
                return self._exchange(method, url, dict(headers or {}), body, elsewhere, sink)
        except _OutOfTime:
            self.close()  # the connection is in the middle of something
            raise Unavailable(
                f"{method} {shown}: no complete answer within {self.limits.total_s:.0f} s; "
                "the server is slow, or see total_timeout"
            ) from None

    def close(self) -> None:
        if self._adapter is not None:
            self._adapter.close()
            self._adapter = None

    def _exchange(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        body: bytes | None,
        elsewhere: bool,
        sink: IO[bytes] | None,
    ) -> Response:
        origin = _origin(url)
        for _ in range(MAX_REDIRECTS + 1):
            response = self._send(method, url, headers, body, sink)
            target = response.headers.get("location")
            if response.status not in (301, 302, 303, 307, 308) or not target:
                if response.status >= 300 and method not in ("GET", "HEAD"):
                    raise Refused(
                        f"{method} {show(url)}: answered {response.status}, which is no success", status=response.status
                    )
                return response
            target = _joined(url, target)
            if _origin(target) != origin and elsewhere:
                headers = {}
            elif _origin(target) != origin:
                raise Refused(
                    f"{method} {show(url)}: redirected to another host ({show(target)}), where credentials must not "
                    "go; configure that URL if it is right",
                    status=response.status,
                )
            if method not in ("GET", "HEAD") and response.status not in (307, 308):
                raise Refused(
                    f"{method} {show(url)}: answered with a {response.status} redirect, which would lose the body",
                    status=response.status,
                )
            url = target
        raise Unavailable(f"{method} {show(url)}: more than {MAX_REDIRECTS} redirects")

    def _send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, sink: IO[bytes] | None
    ) -> Response:
        import requests  # noqa: PLC0415 - 78 ms and 18 MiB that a run without HTTP never pays
        from urllib3.exceptions import HTTPError  # noqa: PLC0415 - as above

        adapter = self._adapter or self._connect()
        shown = f"{method} {show(url)}"
        try:
            prepared = requests.PreparedRequest()
            prepared.method, prepared.url = method, url  # as it came: a pre-signed URL must not be re-encoded
            prepared.prepare_headers({**self._headers, **headers})
            prepared.prepare_body(body, None)
            answer = adapter.send(
                prepared,
                timeout=(self.limits.connect_s, self.limits.read_s),
                verify=not self._insecure and (self._tls.ca_file or True),
                cert=self._tls.own,
                proxies=self._proxies(url),
                stream=True,
            )
            with answer:
                self._note_end(url, answer)
                content = _read(answer, self.limits.size, shown, sink if answer.status_code < 300 else None)
        except requests.exceptions.SSLError as exc:
            raise Unavailable(f"{shown}: TLS failed: {_cause(exc)}; see ca_file and client_cert", sent=False) from exc
        except requests.exceptions.ConnectTimeout as exc:
            raise Unavailable(f"{shown}: no connection within {self.limits.connect_s:.0f} s", sent=False) from exc
        except requests.exceptions.Timeout as exc:
            raise Unavailable(f"{shown}: silent for {self.limits.read_s:.0f} s") from exc
        except requests.exceptions.ChunkedEncodingError as exc:  # requests' name for any body that ends early
            raise Unavailable(f"{shown}: the answer broke off ({_cause(exc)})") from exc
        except (requests.exceptions.RequestException, HTTPError) as exc:  # requests lets some of urllib3's through
            raise Unavailable(f"{shown}: {_cause(exc)}", sent=not _never_connected(exc)) from exc
        except UnicodeError as exc:
            raise SettingsError(f"{shown}: its headers cannot be sent ({exc}); look at the ids in them") from exc
        except ValueError as exc:  # urllib3 hands on a chunk of negative length
            raise Unavailable(f"{shown}: the answer is no HTTP ({exc})") from exc
        except OSError as exc:
            raise SettingsError(f"{shown}: {exc}; see ca_file and client_cert") from exc
        lower = {name.lower(): value for name, value in answer.headers.items()}
        return judge(shown, Response(answer.status_code, lower, content))

    def _connect(self) -> HTTPAdapter:
        """The connections without a requests.Session around them, which doubles the time of a request.

        Nor would it do any good: cookies, .netrc passwords and a CURL_CA_BUNDLE that overrides verify.
        """
        self._adapter = _adapter(self._tls, insecure=self._insecure)
        return self._adapter

    def _note_end(self, url: str, answer: requests.Response) -> None:
        """Remember when the certificate ends that this server has shown on the connection at hand."""
        where = "://".join(_origin(url))
        link: Any = getattr(getattr(answer.raw, "_connection", None), "sock", None)
        room = where in self.ends or len(self.ends) < HOSTS
        if room and hasattr(link, "getpeercert") and (end := tls.end_of(link)):
            self.ends[where] = end

    def _proxies(self, url: str) -> dict[str, str]:
        if self._proxy:
            return {"http": self._proxy, "https": self._proxy}
        origin = _origin(url)
        if origin not in self._routes:
            from requests.utils import get_environ_proxies  # noqa: PLC0415

            self._routes[origin] = dict(get_environ_proxies(url))
        return self._routes[origin]


def client(
    settings: Settings, section: str = "", limits: Limits | None = None, before: Callable[[], object] = lambda: None
) -> Client:
    """A client as the settings of a source want it, within their limits or other ones."""
    own = Limits(settings.connect_timeout, settings.read_timeout, settings.total_timeout, settings.max_document)
    return Client(limits or own, tls=tls.files(settings, section), proxy=settings.proxy, before=before)


def bundle(certificates: Tls) -> str:
    """The file, or the directory, with the CAs that are believed."""
    if certificates.ca_file:
        return certificates.ca_file
    from requests.utils import DEFAULT_CA_BUNDLE_PATH  # noqa: PLC0415 - as above

    return str(DEFAULT_CA_BUNDLE_PATH)


def _adapter(certificates: Tls, *, insecure: bool) -> HTTPAdapter:
    """An adapter without retries that speaks TLS 1.2 at least, to proxies too.

    It keeps the brackets of IPv6 hosts, by which urllib3 knows that a zone follows.
    """
    import ssl  # noqa: PLC0415

    from requests.adapters import HTTPAdapter  # noqa: PLC0415
    from urllib3.util.ssl_ import create_urllib3_context  # noqa: PLC0415

    # urllib3 fills in what requests was told for this request; left to itself, 1.26 speaks whatever the machine permits
    floor = create_urllib3_context(cert_reqs=ssl.CERT_NONE if insecure else ssl.CERT_REQUIRED)
    floor.minimum_version = ssl.TLSVersion.TLSv1_2

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *arguments: Any, **named: Any) -> None:
            super().init_poolmanager(*arguments, **named, ssl_context=floor)

        def proxy_manager_for(self, proxy: str, **named: Any) -> Any:
            if proxy.startswith("https:") and not insecure:
                named["proxy_ssl_context"] = tls.context(bundle(certificates), certificates)
            return super().proxy_manager_for(proxy, **named, ssl_context=floor)

        def build_connection_pool_key_attributes(self, *arguments: Any, **named: Any) -> Any:
            host, pool = super().build_connection_pool_key_attributes(*arguments, **named)
            bare = str(host["host"])
            return ({**host, "host": f"[{bare}]"} if ":" in bare else host), pool

    return Adapter(max_retries=0)


def show(url: str) -> str:
    """A URL fit for a message: without its query, which may be a signature, and without user and password."""
    parts = urls.split(url)
    if not parts.netloc and parts.scheme != "file":
        return "(no URL)"
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def _joined(url: str, target: str) -> str:
    try:
        return urljoin(url, target)
    except ValueError as exc:
        raise Unavailable(f"GET {show(url)}: redirected to what is no URL ({exc}); look at that server") from exc


def _origin(url: str) -> tuple[str, str]:
    parts = urls.split(url)
    return parts.scheme, parts.netloc.rpartition("@")[2].lower()


def _read(answer: requests.Response, limit: int, shown: str, sink: IO[bytes] | None) -> bytes:
    """The body, at most `limit` bytes of it; b"" when it has gone to the sink."""
    announced = _announced(answer)
    if announced > limit:
        raise Unavailable(f"{shown}: the answer has {announced} bytes, the limit is {limit}; see max_document")
    body: IO[bytes] = io.BytesIO() if sink is None else sink
    body.seek(0)
    body.truncate()
    size = 0
    for chunk in answer.iter_content(READ_CHUNK):
        size += len(chunk)
        if size > limit:
            raise Unavailable(f"{shown}: the answer has more than {limit} bytes; see max_document")
        try:
            body.write(chunk)
        except OSError as exc:
            raise StateError(f"{shown}: keeping the answer on our disk: {exc.strerror}; make room") from exc
    encoded = answer.headers.get("Content-Encoding", "identity") != "identity"
    if size < announced and not encoded and answer.request.method != "HEAD":
        raise Unavailable(f"{shown}: the answer broke off after {size} of {announced} bytes")
    return body.getvalue() if isinstance(body, io.BytesIO) else b""


def _announced(answer: requests.Response) -> int:
    """The length that the answer claims to have, -1 when it claims none; of 19 digits or more the first ones do."""
    length = answer.headers.get("Content-Length", "")
    return int(length[:19]) if length.isascii() and length.isdecimal() else -1


def _never_connected(exc: BaseException) -> bool:
    names = {type(cause).__name__ for cause in _chain(exc)}
    return bool(names & {"NewConnectionError", "NameResolutionError", "ConnectTimeoutError", "ProxyError"})


def _cause(exc: BaseException) -> str:
    """The innermost reason in words, without the object addresses that urllib3 puts around it."""
    innermost = _chain(exc)[-1]
    text = getattr(innermost, "strerror", None) or str(innermost)
    return str(text).rpartition(">: ")[2] or type(innermost).__name__


def _chain(exc: BaseException) -> list[BaseException]:
    found = [exc]
    while len(found) < 10:
        last = found[-1]
        inner: Any = getattr(last, "reason", None) or last.__cause__ or last.__context__
        if not isinstance(inner, BaseException):
            inner = next((a for a in last.args if isinstance(a, BaseException)), None)
        if inner is None or inner in found:
            break
        found.append(inner)
    return found


@contextmanager
def _deadline(seconds: float) -> Iterator[None]:
    """Raise _OutOfTime in this thread after `seconds`, whatever call it is in.

    An interval timer, because no HTTP library bounds a whole exchange: their timeouts start anew with each byte.
    Outside the main thread (tests, embedding) only those remain.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
