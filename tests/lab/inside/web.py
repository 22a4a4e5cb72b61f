# mypy: disable-error-code="import-not-found, import-untyped"
"""Serve one WSGI application on one of the lab's ports."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import waitress

from tests.lab.model import HOST, Lab

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment


def gated(application: WSGIApplication, gate: Path) -> WSGIApplication:
    """The application, or 503 while the gate's file exists."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        if gate.exists():
            start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
            return [b"the lab has sent this service away\n"]
        return application(environ, start_response)

    return answer


def serve(lab: Lab, listener: str, application: WSGIApplication, *, threads: int) -> None:
    """Serve for as long as the process lives."""
    wrapped = gated(application, lab.gate(listener))
    waitress.serve(wrapped, host=HOST, port=lab.port(listener), threads=threads)
