"""A stand-in for the one question that Heat asks Nova about a deployed server: is it still there?

On delete Heat waits for a deployment with the action DELETE only while Nova knows the server, and
without any compute endpoint the delete fails. So every server exists, for ever.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def application(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    identity = environ["PATH_INFO"].rstrip("/").rsplit("/", 1)[-1]
    server = {"id": identity, "name": identity, "status": "ACTIVE"}
    body = json.dumps({"server": {**server, "links": [], "addresses": {}, "metadata": {}}}).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
