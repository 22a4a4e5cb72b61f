# mypy: disable-error-code="import-not-found"
"""Heat: engine, native API and CloudFormation API in one process, and the stand-in for Nova.

Heat 27 has no heat-all any more and no eventlet. Its engine runs on oslo.service's threads, next to the
two applications, so that the in-memory messaging driver (fake://) is all the transport there needs to be.
"""

import functools
import os
import signal
import sys
import threading

from oslo_service import backend

from tests.lab.inside import nova, sqlite, this_lab, web


def main() -> None:
    lab = this_lab()
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    sys.argv = ["heat-engine", "--config-file", str(lab.etc / "heat.conf")]
    backend.init_backend(backend.BackendType.THREADING)  # before Heat imports oslo.service's users
    sqlite.tune()
    from heat.api.cfn import wsgi as cfn
    from heat.api.openstack import wsgi as native

    applications = {
        "heat": native.init_application(),
        "cfn": cfn.init_application(),
        "nova": nova.application,
    }
    start_engine()
    for listener, application in applications.items():
        serve = functools.partial(web.serve, lab, listener, application, threads=8)
        threading.Thread(target=serve, daemon=True).start()
    stopping.wait()
    os._exit(0)  # a test bench: what is in flight is abandoned, the state is on disk


def start_engine() -> None:
    from heat.common import config, messaging
    from heat.engine import service, template
    from heat.rpc import api
    from oslo_config import cfg

    messaging.setup()
    config.startup_sanity_check()
    template._get_template_extension_manager()  # loaded here, before several threads would at once
    service.EngineService(cfg.CONF.host, api.ENGINE_TOPIC).start()


if __name__ == "__main__":
    main()
