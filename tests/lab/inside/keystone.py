# mypy: disable-error-code="import-not-found"
"""Keystone."""

import os
import sys

from tests.lab.inside import sqlite, this_lab, web


def main() -> None:
    lab = this_lab()
    os.environ["OS_KEYSTONE_CONFIG_FILES"] = str(lab.etc / "keystone.conf")
    sys.argv = ["keystone"]
    sqlite.tune()
    from keystone.server import wsgi  # reads its configuration when imported

    # One thread: with several, Keystone now and then judges a request by its neighbour's scope
    # ("requires a scope of project, request was made with domain scope").
    web.serve(lab, "keystone", wsgi.initialize_public_application(), threads=1)


if __name__ == "__main__":
    main()
