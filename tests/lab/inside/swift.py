# mypy: disable-error-code="import-not-found"
# ruff: noqa: E402
"""Swift: proxy, account, container and object server in one process."""

import eventlet

eventlet.monkey_patch()  # before anything else imports sockets

import eventlet.wsgi
from swift.common import utils, wsgi

from tests.lab.configuration import RINGS
from tests.lab.inside import this_lab
from tests.lab.model import HOST


def main() -> None:
    lab = this_lab()
    utils.SWIFT_CONF_FILE = str(lab.etc / "swift" / "swift.conf")
    ports = {kind: lab.port(kind) for kind in RINGS} | {"proxy": lab.port("swift")}
    servers = [
        eventlet.spawn(
            eventlet.wsgi.server,
            eventlet.listen((HOST, port), reuse_port=False),
            wsgi.loadapp(str(lab.etc / "swift" / f"{kind}.conf")),
            protocol=wsgi.SwiftHttpProtocol,
            log_output=False,
            capitalize_response_headers=False,
        )
        for kind, port in ports.items()
    ]
    for server in servers:
        server.wait()


if __name__ == "__main__":
    main()
