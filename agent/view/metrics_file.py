"""Keeps the file of metrics up to date: written whole, readable for all, and only when something changed."""

from __future__ import annotations

from agent import log, state
from agent.settings import Settings
from agent.view import guest, metrics, status


def post(settings: Settings, now: float) -> None:
    """Write the metrics of this moment where `metrics_file` says, unless they stand there already."""
    path = settings.path(settings.metrics_file)
    data = metrics.text(status.judge(guest.read(settings), now)).encode()
    try:
        before = path.read_bytes()
    except OSError:  # not there yet
        before = b""
    if data != before and not state.post(path, data, mode=0o644):
        log.warning("metrics not written", file=str(path), reason="see that its directory is there and writable")
