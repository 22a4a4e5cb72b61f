"""Fetching what files and archives name by URL, with the credentials of `AWS::CloudFormation::Authentication`.

Credentials go to the servers that they are meant for and to no other, not even after a redirect.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from agent import answers, urls
from agent.answers import Response
from agent.apply.cfn_model import Credentials, Fetch
from agent.aws import sign_s3
from agent.errors import ApplyError
from agent.transport import Client, Limits

LIMITS = Limits(connect_s=10.0, read_s=60.0, total_s=1800.0, size=1 << 30)
PATIENCE_S = 30.0
SPOOL = Path("/var/tmp")  # noqa: S108 - a directory of our own is made in it; /tmp may be memory


def fetcher(client: Client, credentials: Mapping[str, Credentials]) -> Fetch:
    """A Fetch over this client: through a file, so that what is fetched may be larger than the memory."""

    @contextmanager
    def fetch(url: str, name: str) -> Iterator[Path]:
        parts = urls.split(url)
        if parts.scheme == "file":
            yield _there(Path(unquote(parts.path)))
            return
        chosen = credentials[name] if name else fitting(url, credentials)
        spool = SPOOL if SPOOL.is_dir() else None
        with tempfile.TemporaryDirectory(prefix="cfn-init-", dir=spool) as directory:
            path = Path(directory, f"download{Path(parts.path).suffix[:10]}")
            with _telling(path), path.open("wb") as sink:
                answers.persist(lambda: _ask(client, url, chosen, sink), deadline_s=PATIENCE_S)
            yield path

    return fetch


def _ask(client: Client, url: str, chosen: Credentials | None, sink: IO[bytes]) -> Response:
    headers = {} if chosen is None else sign_in(url, chosen, datetime.now(timezone.utc))
    return client.request("GET", url, headers=headers, elsewhere=True, sink=sink)


def fitting(url: str, credentials: Mapping[str, Credentials]) -> Credentials | None:
    """The first credentials that name the server (basic) or the bucket (S3) of a URL."""
    return next((given for given in credentials.values() if given.places and _meant_for(url, given)), None)


def sign_in(url: str, credentials: Credentials, now: datetime) -> dict[str, str]:
    """The headers that sign a GET in, none where the credentials are not meant for that server."""
    if credentials.places and not _meant_for(url, credentials):
        return {}
    if credentials.kind == "basic":
        pair = f"{credentials.user}:{credentials.secret}".encode()
        return {"Authorization": f"Basic {base64.b64encode(pair).decode()}"}
    return sign_s3(url, credentials.user, credentials.secret, now=now)


def _meant_for(url: str, credentials: Credentials) -> bool:
    parts = urls.split(url)
    host = parts.netloc.rpartition("@")[2].lower()
    if credentials.kind == "basic":
        wanted = {urls.split(place if "://" in place else f"//{place}").netloc.lower() for place in credentials.places}
        return bool({host, parts.hostname} & wanted)
    buckets = {host.partition(".")[0], parts.path.lstrip("/").partition("/")[0]}
    return bool(buckets & set(credentials.places))


def _there(path: Path) -> Path:
    if not path.is_file():
        raise ApplyError(f"reading {path}: no such file")
    return path


@contextmanager
def _telling(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise ApplyError(f"keeping a download in {path.parent}: {exc.strerror}; make room") from exc
