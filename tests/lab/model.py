"""What a lab is: a directory, a virtual environment, a block of ports and a few settings.

Stdlib only: the processes inside the lab read the same values.
"""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

HOST = "127.0.0.1"
REGION = "RegionOne"
PASSWORD = "lab-secret"  # of every account: nothing but loopback ever sees it

# Each listener, at its distance from the first port of the block.
LISTENERS = (
    *("keystone", "heat", "cfn", "nova", "swift", "account", "container", "object", "zaqar", "redis"),
    *("websocket", "notification"),
)
PLAIN = ("redis", "websocket", "notification")  # those that answer no GET

# Each process in the order of its start, with the listeners that must answer before it counts as up.
SERVICES = {
    "redis": ("redis",),
    "keystone": ("keystone",),
    "swift": ("swift",),
    "zaqar": ("zaqar",),
    "push": ("websocket", "notification"),
    "heat": ("heat", "cfn"),
}


@dataclass(frozen=True)
class Settings:
    """What a test may want different from the defaults; fixed when the lab is first started."""

    auth_ttl_min: int = 15  # Keystone's default: how long a signed CFN_SIGNAL URL lives
    bcrypt_rounds: int = 4  # Keystone's default is 12, at about 0.3 s per sign-in
    push: bool = False  # Zaqar's websocket side too, which tells subscribers of each message
    enforce_new_defaults: bool = False  # Heat's default, true, refuses every CFN poll


@dataclass(frozen=True)
class Account:
    """Somebody who may sign in to the lab."""

    user: str
    project: str
    password: str = dataclasses.field(default=PASSWORD, repr=False)


DEMO = Account("demo", "demo")
ADMIN = Account("admin", "admin")


@dataclass(frozen=True)
class Lab:
    """Where one lab lives."""

    directory: Path
    venv: Path
    port_base: int
    settings: Settings = Settings()

    @property
    def etc(self) -> Path:
        return self.directory / "etc"

    @property
    def data(self) -> Path:
        return self.directory / "data"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def run(self) -> Path:
        return self.directory / "run"

    @property
    def python(self) -> Path:
        return self.venv / "bin" / "python"

    @property
    def services(self) -> tuple[str, ...]:
        """The processes that this lab consists of."""
        return tuple(name for name in SERVICES if name != "push" or self.settings.push)

    @property
    def auth_url(self) -> str:
        return self.url("keystone") + "/v3"

    def port(self, listener: str) -> int:
        return self.port_base + LISTENERS.index(listener)

    def url(self, listener: str) -> str:
        return f"http://{HOST}:{self.port(listener)}"

    def database(self, name: str) -> str:
        return f"sqlite:///{self.data}/{name}.sqlite"

    def gate(self, listener: str) -> Path:
        """While this file exists the listener answers 503, as a load balancer without a backend does."""
        return self.run / f"{listener}.away"


def save(lab: Lab) -> None:
    """Leave the lab's description where `load` finds it."""
    lab.directory.mkdir(parents=True, exist_ok=True)
    text = json.dumps(dataclasses.asdict(lab), default=str, indent=1)
    (lab.directory / "lab.json").write_text(text + "\n")


def load(directory: Path) -> Lab | None:
    """The lab that was started in this directory, or None."""
    try:
        known = json.loads((directory / "lab.json").read_text())
    except FileNotFoundError:
        return None
    return Lab(directory, Path(known["venv"]), known["port_base"], Settings(**known["settings"]))
