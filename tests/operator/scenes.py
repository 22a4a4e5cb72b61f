"""The guests that the documentation shows: each is made, not drawn."""

from collections.abc import Callable

from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.waiting import until

SLEEPS = {"prepare-disks": 0.4, "install-database": 1.1, "configure-web": 0.3, "join-cluster": 0.7}
NO_HOST = "echo 'nginx: [emerg] host not found: db-1' >&2\nexit 3\n"
QUICK = {"polling_interval": "0.2", "min_polling_interval": "0.1"}


def failed(guest: Guest, endpoint: Endpoint) -> None:
    """Four deployments of a web server, one of which fails."""
    scripts = {name: f"#!/bin/sh\nsleep {seconds}\n" for name, seconds in SLEEPS.items()}
    scripts["configure-web"] += NO_HOST
    endpoint.serve(*(_deployment(endpoint, number, *named) for number, named in enumerate(scripts.items(), 1)))
    guest.once()


def unsignalled(guest: Guest, endpoint: Endpoint) -> None:
    """The endpoint does not take the second of two outcomes."""
    endpoint.serve(
        _deployment(endpoint, 1, "prepare-disks", "#!/bin/sh\n"),
        _deployment(endpoint, 2, "install-database", "#!/bin/sh\necho 'database is ready'\n"),
    )
    endpoint.spoil = lambda request, name: name == "install-database" and answering(503)(request, name)
    guest.start("run", signal_backoff="3600", **QUICK)
    until(lambda: guest.journal().get(_id(2), {}).get("tries", 0) >= 3, "three vain tries")


def held(guest: Guest, endpoint: Endpoint) -> None:
    """A group that nobody on the guest serves."""
    endpoint.serve(
        _deployment(endpoint, 1, "prepare-disks", "#!/bin/sh\nsleep 0.3\n"),
        _deployment(endpoint, 2, "install-database", "", group="terraform"),
    )
    guest.start("run", hook_grace="60", **QUICK)
    until(lambda: guest.log().events("held"), "the deployment to be held")
    posted = guest.state / "bulletin.json"
    until(lambda: posted.exists() and b'"held": {"' in posted.read_bytes(), "the bulletin")
    until(lambda: guest.states().get(_id(1)) == "signalled", "the other one to be done")


def _id(number: int) -> str:
    return f"{number * 11111111:08d}-0000-4000-8000-{number:012d}"


def _deployment(endpoint: Endpoint, number: int, name: str, script: str, group: str = "script") -> dict[str, object]:
    return endpoint.script(name, script, id=_id(number), group=group)


SCENES: dict[str, Callable[[Guest, Endpoint], None]] = {
    "failed": failed,
    "unsignalled": unsignalled,
    "held": held,
}
