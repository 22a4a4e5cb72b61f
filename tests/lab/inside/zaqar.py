# mypy: disable-error-code="import-not-found"
"""Zaqar's WSGI side."""

import sys

from oslo_config import cfg
from oslo_log import log
from zaqar import bootstrap

from tests.lab.inside import sqlite, this_lab, web


def main() -> None:
    lab = this_lab()
    sqlite.tune()
    sys.argv = ["zaqar-server", "--config-file", str(lab.etc / "zaqar.conf")]
    log.register_options(cfg.CONF)
    cfg.CONF(sys.argv[1:], project="zaqar", prog="zaqar-server")
    log.setup(cfg.CONF, "zaqar")
    web.serve(lab, "zaqar", bootstrap.Bootstrap(cfg.CONF).transport.app, threads=6)


if __name__ == "__main__":
    main()
