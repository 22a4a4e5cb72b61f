# mypy: disable-error-code="import-not-found"
"""Zaqar's websocket side: clients on one port, what its WSGI side has to tell them on another."""

import asyncio
import sys

from oslo_config import cfg
from oslo_log import log
from zaqar import bootstrap

from tests.lab.inside import sqlite, this_lab


def main() -> None:
    lab = this_lab()
    sqlite.tune()
    log.register_options(cfg.CONF)
    cfg.CONF(["--config-file", str(lab.etc / "push.conf")], project="zaqar", prog="zaqar-server")
    log.setup(cfg.CONF, "zaqar")
    asyncio.set_event_loop(asyncio.new_event_loop())  # which it takes for granted
    sys.argv = ["zaqar-server"]
    bootstrap.Bootstrap(cfg.CONF).transport.listen()


if __name__ == "__main__":
    main()
