"""Start, stop and look at a whole lab or one service of it."""

import errno
import os
import random
import shutil
import socket
import time
from pathlib import Path

import requests

from tests.lab import configuration, databases, install, model, processes, redis
from tests.lab.errors import LabError
from tests.lab.model import HOST, LISTENERS, PLAIN, SERVICES, Lab, Settings

ANSWER_TIMEOUT_S = 600.0
PORTS = range(20000, 32000)  # below the range from which Linux takes ports for outgoing connections
DEFAULTS = Settings()
HEALTH = {"keystone": "/v3", "zaqar": "/v2", "nova": "/"}


def open_lab(directory: Path, settings: Settings = DEFAULTS, port_base: int | None = None) -> Lab:
    """The lab of this directory; described anew when there is none. Starts nothing."""
    directory = directory.resolve()
    if known := model.load(directory):
        return known
    directory.mkdir(parents=True, exist_ok=True)
    check_attributes(directory)
    redis.ensure()
    lab = Lab(directory, install.install(), port_base or free_block(), settings)
    model.save(lab)
    return lab


def start(lab: Lab, *, tethered: bool = False) -> None:
    """Start what does not run yet; return when everything answers. Tethered: it dies with this process."""
    configuration.write(lab)
    databases.create(lab)
    for name in lab.services:
        start_service(lab, name, tethered=tethered)
    seed(lab)  # while the others load: none of them asks Keystone anything before its first request
    for name in lab.services:
        wait_for(lab, name)


def start_service(lab: Lab, name: str, *, tethered: bool = False) -> None:
    """Start one service, without waiting for it."""
    argv = redis.command(lab) if name == "redis" else databases.inside(lab, name)
    processes.launch(lab, name, argv, tethered=tethered)


def stop_service(lab: Lab, name: str) -> None:
    """End one service. Heat keeps what it waits for in memory: a stack in progress does not survive this."""
    processes.stop(lab, name)


def send_away(lab: Lab, listener: str) -> None:
    """Let heat, cfn, keystone or zaqar answer 503 from now on, as a load balancer whose backend is down.

    Unlike `stop_service("heat")` the engine lives on, and with it the stacks in progress.
    """
    lab.gate(listener).touch()


def bring_back(lab: Lab, listener: str) -> None:
    lab.gate(listener).unlink(missing_ok=True)


def stop(lab: Lab) -> None:
    for name in reversed(SERVICES):
        processes.stop(lab, name)


def clean(lab: Lab) -> None:
    """Stop, and remove the run-time state; the installed environment stays."""
    stop(lab)
    shutil.rmtree(lab.directory)


def seed(lab: Lab) -> None:
    """Users, roles and the catalog, once per lab, as soon as Keystone answers."""
    stamp = lab.data / "seeded"
    if stamp.exists():
        return
    wait_for(lab, "keystone")
    processes.run(lab, databases.inside(lab, "seed"))
    stamp.touch()


def wait_for(lab: Lab, name: str) -> None:
    """Return when every listener of a service answers."""
    deadline = time.monotonic() + ANSWER_TIMEOUT_S
    while not up(lab, name):
        if not processes.running(lab, name):
            raise LabError(f"{name} ended early\n{processes.tail(lab.log / f'{name}.log')}")
        if time.monotonic() > deadline:
            raise LabError(f"{name} does not answer\n{processes.tail(lab.log / f'{name}.log')}")
        time.sleep(0.1)


def up(lab: Lab, name: str) -> bool:
    return all(answers(lab, listener) for listener in SERVICES[name])


def answers(lab: Lab, listener: str) -> bool:
    """Whether there is an HTTP status below 500 (for some: a connection)."""
    if listener in PLAIN:
        with socket.socket() as probe:
            return probe.connect_ex((HOST, lab.port(listener))) == 0
    path = HEALTH.get(listener, "/healthcheck")
    with requests.Session() as session:
        session.trust_env = False  # loopback needs no proxy
        try:
            answer = session.get(lab.url(listener) + path, headers={"Client-ID": "0" * 32}, timeout=30)
        except requests.RequestException:
            return False
    return answer.status_code < 500


def free_block() -> int:
    """The first of neighbouring ports, one for each listener, that nobody listens on."""
    for _ in range(100):
        base = random.randrange(PORTS.start, PORTS.stop, len(LISTENERS))
        if all(free(base + offset) for offset in range(len(LISTENERS))):
            return base
    raise LabError(f"no {len(LISTENERS)} neighbouring free ports between {PORTS.start} and {PORTS.stop}")


def free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE:
                raise LabError(f"cannot bind {HOST}:{port}: {exc.strerror}") from exc
            return False
    return True


def check_attributes(directory: Path) -> None:
    """Swift keeps the metadata of objects in extended attributes; some file systems have none."""
    probe = directory / "attributes"
    probe.touch()
    try:
        os.setxattr(probe, "user.lab", b"1")
    except OSError as exc:
        raise LabError(f"{directory}: Swift needs extended attributes here ({exc.strerror})") from exc
    finally:
        probe.unlink()
