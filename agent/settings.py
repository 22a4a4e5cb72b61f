"""Every setting once: the frozen dataclass below is the source of the files' keys, the flags and the reference page.

Order, first wins: flag, environment (`OS_<SECTION>__<KEY>`), the metadata's `os-collect-config` section (collector
sections and `collectors` only), the service's credential `os-deploy-agent.conf`, `/etc/os-deploy-agent/*.conf`,
`/etc/os-collect-config.conf`, default. The files are oslo.config's INI: a key may stand several times, dashes and
underscores are the same, values are taken literally.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from agent import ownership
from agent.errors import SettingsError
from agent.jsontext import whole_text
from agent.model import Json

Ini = dict[str, dict[str, list[str]]]

CONFIG_DIR = "etc/os-deploy-agent"
OLD_CONFIG = "etc/os-collect-config.conf"
CREDENTIAL = "os-deploy-agent.conf"
UNIT = "unit"  # the value of the setting runner for systemd units of their own
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
OVERLAID_SECTIONS = ("cfn", "heat", "request", "zaqar", "ec2")


def _setting(default: Any, key: str, about: str, *, secret: bool = False) -> Any:
    """A field named `key`, spelled `section.key` or, for the DEFAULT section, just `key`."""
    metadata = {"key": key, "help": about, "secret": secret}
    return field(default=default, metadata=metadata, repr=not secret)


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decides. Times are seconds, sizes bytes; paths are below `root` unless they are relative."""

    root: Path = Path("/")

    collectors: tuple[str, ...] = _setting(
        ("heat_local", "cfn", "heat", "request", "local", "zaqar"),
        "collectors",
        "sources to poll, lowest precedence first",
    )
    deployment_key: tuple[str, ...] = _setting(("deployments",), "deployment_key", "root keys that list deployments")
    polling_interval: float = _setting(30.0, "polling_interval", "longest time between two polls")
    min_polling_interval: float = _setting(1.0, "min_polling_interval", "time to the next poll after a change")
    poll_until_success: bool = _setting(
        False, "poll_until_success", "stop polling once all deployments succeeded, until SIGHUP or a restart"
    )
    splay: float = _setting(0.0, "splay", "longest random delay before the first poll of the daemon")
    cloud_init_patience: float = _setting(
        0.0, "cloud_init_patience", "for so long after its start the daemon lets cloud-init end before it begins"
    )

    state_dir: str = _setting("/var/lib/os-deploy-agent", "state_dir", "the agent's own state")
    deployed_dir: str = _setting(
        "/var/lib/heat-config/deployed", "deployed_dir", "one file per deployment that was begun, as the old tools"
    )
    log_dir: str = _setting("/var/log/os-deploy-agent", "log_dir", "the live output of each deployment")
    hook_dirs: tuple[str, ...] = _setting(
        ("/usr/libexec/heat-config/hooks", "/var/lib/heat-config/hooks"),
        "hook_dirs",
        "directories of executables named after the group they serve",
    )
    working_dir: str = _setting("/var/lib/heat-config", "working_dir", "parent of the hooks' working directories")
    outputs_dir: str = _setting("/var/run/heat-config", "outputs_dir", "parent of the hooks' output directories")

    phases_dir: str = _setting(
        "/usr/libexec/os-refresh-config", "phases_dir", "the phases: pre-configure.d, configure.d and so on"
    )
    phases_timeout: float = _setting(4 * 3600.0, "phases_timeout", "longest run of the phases, without deployments")
    phases_patience: float = _setting(
        900.0, "phases_patience", "how long deployments wait for phases that fail; then they fail with the reason"
    )
    templates_dir: str = _setting(
        "/usr/libexec/os-apply-config/templates", "templates_dir", "root of the templates that the phases apply"
    )
    template_timeout: float = _setting(300.0, "template_timeout", "longest run of one executable template")
    cachedir: str = _setting(
        "/var/lib/os-collect-config", "cachedir", "where the scripts of the phases find the metadata"
    )

    hook_timeout: float = _setting(4 * 3600.0, "hook_timeout", "longest run of a hook; option timeout wins")
    hook_grace: float = _setting(60.0, "hook_grace", "how long the daemon waits for a missing hook to be installed")
    kill_grace: float = _setting(10.0, "kill_grace", "time between SIGTERM and SIGKILL on timeout and cancel")
    max_parallel: int = _setting(1, "max_parallel", "deployments at a time; 1 keeps Heat's order")
    runner: str = _setting(
        "process", "runner", "where a hook is run: in a process below the agent, or in a systemd unit of its own (unit)"
    )
    reboot_command: str = _setting(
        "systemctl reboot", "reboot_command", "what reboots for a hook that ends with 194; empty: somebody else does"
    )
    output_limit: int = _setting(16 << 20, "output_limit", "bytes kept of one deployment's live log")
    signal_limit: int = _setting(450_000, "signal_limit", "bytes of each stream in a signal, head and tail")

    metrics_file: str = _setting(
        "", "metrics_file", "file for the textfile collector of Prometheus' node exporter; empty: none"
    )

    connect_timeout: float = _setting(5.0, "connect_timeout", "longest wait for a connection")
    read_timeout: float = _setting(10.0, "read_timeout", "longest silence within an answer")
    total_timeout: float = _setting(30.0, "total_timeout", "longest time for one request in all")
    max_document: int = _setting(16 << 20, "max_document", "largest document accepted")
    ca_file: str = _setting("", "ca_file", "CA bundle for https; empty means the system's")
    client_cert: str = _setting("", "client_cert", "our own certificate for https, in PEM")
    client_key: str = _setting("", "client_key", "its key; empty means that client_cert holds both")
    certificate_notice: float = _setting(
        14 * 86400.0, "certificate_notice", "how long before a certificate ends that is told; 0: never"
    )
    proxy: str = _setting("", "proxy", "proxy URL for http and https; empty means the environment's")

    seal_key: str = _setting(
        "", "seal_key", "file with the key for secrets in the state; empty: the credential os-deploy-agent.key, if any"
    )

    signal_backoff: float = _setting(300.0, "signal_backoff", "longest pause between two tries to send an outcome")
    signal_patience: float = _setting(7 * 86400.0, "signal_patience", "how long an outcome is tried")
    once_patience: float = _setting(60.0, "once_patience", "how long `agent --once` tries to send an outcome")
    retention: float = _setting(90 * 86400.0, "retention", "how long entries are kept after they left the metadata")
    retention_count: int = _setting(10_000, "retention_count", "how many such entries are kept")

    heat_local_path: tuple[str, ...] = _setting(
        ("/var/lib/cloud/data/cfn-init-data", "/var/lib/heat-cfntools/cfn-init-data"),
        "heat_local.path",
        "files that cloud-init left; of a key in several of them the last one counts",
    )
    heat_local_tighten: bool = _setting(
        False, "heat_local.tighten", "take from everybody the right to read those files, which hold credentials"
    )
    local_path: tuple[str, ...] = _setting(
        ("/var/lib/os-collect-config/local-data",), "local.path", "directories of JSON files"
    )
    cfn_metadata_url: str = _setting("", "cfn.metadata_url", "Heat's CloudFormation API, up to /v1/")
    cfn_heat_metadata_hint: str = _setting(
        "/var/lib/heat-cfntools/cfn-metadata-server", "cfn.heat_metadata_hint", "file that holds the URL instead"
    )
    cfn_stack_name: str = _setting("", "cfn.stack_name", "stack of this server")
    cfn_path: tuple[str, ...] = _setting((), "cfn.path", "<resource>.Metadata[.key…] to fetch")
    cfn_access_key_id: str = _setting("", "cfn.access_key_id", "EC2 access key")
    cfn_secret_access_key: str = _setting("", "cfn.secret_access_key", "EC2 secret key", secret=True)
    cfn_ca_certificate: str = _setting("", "cfn.ca_certificate", "CA bundle for this source alone")
    cfn_client_cert: str = _setting("", "cfn.client_cert", "our own certificate for this source alone")
    cfn_client_key: str = _setting("", "cfn.client_key", "its key")
    cfn_polling_interval: float = _setting(
        60.0, "cfn.polling_interval", "longest time between two polls of this source"
    )
    cfn_min_polling_interval: float = _setting(10.0, "cfn.min_polling_interval", "shortest time between two polls")
    heat_auth_url: str = _setting("", "heat.auth_url", "Keystone v3")
    heat_user_id: str = _setting("", "heat.user_id", "the server's own user")
    heat_password: str = _setting("", "heat.password", "its password", secret=True)
    heat_project_id: str = _setting("", "heat.project_id", "the stack's user project")
    heat_stack_id: str = _setting("", "heat.stack_id", "name/uuid of the stack")
    heat_resource_name: str = _setting("", "heat.resource_name", "resource of this server")
    heat_region_name: str = _setting("", "heat.region_name", "region whose endpoints are used")
    heat_ca_file: str = _setting("", "heat.ca_file", "CA bundle for this source alone")
    heat_client_cert: str = _setting("", "heat.client_cert", "our own certificate for this source alone")
    heat_client_key: str = _setting("", "heat.client_key", "its key")
    request_metadata_url: str = _setting("", "request.metadata_url", "any URL that serves the metadata as JSON")
    request_ca_file: str = _setting("", "request.ca_file", "CA bundle for this source alone")
    request_client_cert: str = _setting("", "request.client_cert", "our own certificate for this source alone")
    request_client_key: str = _setting("", "request.client_key", "its key")
    zaqar_auth_url: str = _setting("", "zaqar.auth_url", "Keystone v3")
    zaqar_user_id: str = _setting("", "zaqar.user_id", "the server's own user")
    zaqar_password: str = _setting("", "zaqar.password", "its password", secret=True)
    zaqar_project_id: str = _setting("", "zaqar.project_id", "the stack's user project")
    zaqar_queue_id: str = _setting("", "zaqar.queue_id", "queue of this server")
    zaqar_region_name: str = _setting("", "zaqar.region_name", "region whose endpoints are used")
    zaqar_ca_file: str = _setting("", "zaqar.ca_file", "CA bundle for this source alone")
    zaqar_client_cert: str = _setting("", "zaqar.client_cert", "our own certificate for this source alone")
    zaqar_client_key: str = _setting("", "zaqar.client_key", "its key")
    ec2_metadata_url: tuple[str, ...] = _setting(
        ("http://169.254.169.254/latest/meta-data", "http://[fe80::a9fe:a9fe]/latest/meta-data"),
        "ec2.metadata_url",
        "the metadata service: addresses to try in turn",
    )
    ec2_polling_interval: float = _setting(
        300.0, "ec2.polling_interval", "time between two polls of this source, and of config_drive"
    )

    def path(self, name: str) -> Path:
        """A path of a setting (or of the agent's own knowledge) below `root`."""
        return self.root / name.lstrip("/")


FIELDS = {f.metadata["key"]: f for f in dataclasses.fields(Settings) if f.metadata}


def parse_ini(text: str, what: str) -> Ini:
    """INI text as section -> key -> values in order of appearance.

    Indented lines continue the value above, `#` and `;` start comment lines. Raises SettingsError naming the line.
    """
    sections: Ini = {}
    section = sections.setdefault("DEFAULT", {})
    values: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped[0] in "#;":
            continue
        if line[0].isspace() and values:
            values[-1] = f"{values[-1]}\n{stripped}".strip()
        elif stripped[0] == "[" and stripped[-1] == "]":
            section, values = sections.setdefault(stripped[1:-1].strip(), {}), []
        else:
            cut = min((i for i in (stripped.find("="), stripped.find(":")) if i > 0), default=0)
            if not cut:
                raise SettingsError(f"reading {what}, line {number}: neither '[section]' nor 'key = value'")
            values = section.setdefault(stripped[:cut].strip().replace("-", "_"), [])
            values.append(_unquoted(stripped[cut + 1 :].strip()))
    return sections


@dataclass(frozen=True, slots=True)
class Given:
    """What the settings are made of; `files` come highest precedence first, as (name, content).

    `flags` and the rest name settings by key (`polling_interval`, `heat.auth_url`).
    """

    root: Path
    flags: Mapping[str, str] = field(default_factory=dict, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    files: tuple[tuple[str, Ini], ...] = field(default=(), repr=False)
    left_out: frozenset[str] = frozenset()  # names of files that do not count

    def settings(self, overlay: Mapping[str, Json] | None = None) -> Settings:
        """The settings that hold, with the metadata's `os-collect-config` section as `overlay`.

        Raises SettingsError naming the place and the value at fault.
        """
        from_environ = {key: [self.environ[name]] for key, name in _environment_names().items() if name in self.environ}
        layers: list[tuple[str, Mapping[str, list[str]]]] = [
            ("flag", {key: [value] for key, value in self.flags.items()}),
            ("environment", from_environ),
            ("metadata, os-collect-config", overlay_values(overlay or {})),
            *((name, _flatten(ini)) for name, ini in self.files if name not in self.left_out),
        ]
        values: dict[str, Any] = {}
        for place, layer in layers:
            for key, texts in layer.items():
                known = FIELDS.get(key)
                if known and known.name not in values:
                    values[known.name] = _convert(known, texts, place, key)
        return Settings(root=self.root, **values)

    def reread(self) -> Given:
        """The same flags and environment with the files as they are now."""
        return dataclasses.replace(self, files=tuple(read_files(self.root, self.environ)))


def overlay_values(section: Mapping[str, Json]) -> dict[str, list[str]]:
    """What the `os-collect-config` section of the metadata may set; null means unset (Heat retires keys so)."""
    values: dict[str, list[str]] = {}
    collectors = section.get("collectors")
    if isinstance(collectors, list) and collectors:
        values["collectors"] = [whole_text(str(name)) for name in collectors]
    for name in OVERLAID_SECTIONS:
        entries = section.get(name)
        for key, value in entries.items() if isinstance(entries, dict) else ():
            if value not in (None, []) and not isinstance(value, dict):
                values[f"{name}.{key}"] = [whole_text(str(v)) for v in (value if isinstance(value, list) else [value])]
    return values


def read_files(root: Path, environ: Mapping[str, str]) -> list[tuple[str, Ini]]:
    """The settings files, highest precedence first: the service's credential, then those below `root`.

    Later names in the directory win over earlier ones.
    """
    credentials = environ.get("CREDENTIALS_DIRECTORY")  # systemd.exec(5), LoadCredential=
    secret = [Path(credentials) / CREDENTIAL] if credentials else []
    found = [*secret, *sorted((root / CONFIG_DIR).glob("*.conf"), reverse=True), root / OLD_CONFIG]
    return [(str(path), parse_ini(_text(path), str(path))) for path in found if path.is_file()]


def credentials_in(path: Path) -> bool:
    """Whether a settings file holds a secret of a server's own."""
    try:
        known = _flatten(parse_ini(_text(path), str(path)))
    except SettingsError:  # whoever reads it for its settings says so
        return False
    return any(FIELDS[key].metadata["secret"] for key in known if key in FIELDS)


def flag_of(key: str) -> str:
    return "--" + key.replace(".", "-").replace("_", "-")


def _text(path: Path) -> str:
    try:
        if others := ownership.writable_by_others(path):
            raise SettingsError(f"reading settings {path}: {others}")
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"reading settings {path}: {exc}; make it readable UTF-8 text") from exc


def _unquoted(text: str) -> str:
    """oslo.config strips one pair of quotes."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _boolean(text: str) -> bool:
    """The words that oslo.config takes."""
    word = text.lower()
    if word not in (*_TRUE, *_FALSE):
        raise ValueError(f"neither {', '.join(_TRUE)} nor {', '.join(_FALSE)}")
    return word in _TRUE


def _flatten(ini: Ini) -> dict[str, list[str]]:
    return {
        key if section == "DEFAULT" else f"{section}.{key}": values
        for section, entries in ini.items()
        for key, values in entries.items()
    }


def _parts(text: str) -> list[str]:
    """A list by commas or lines; or in JSON, as templates render one (os-collect-config.conf of many an image)."""
    with suppress(ValueError):
        listed = json.loads(text)
        if isinstance(listed, list) and all(isinstance(part, str) for part in listed):
            return listed
    return [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]


@cache
def _environment_names() -> dict[str, str]:
    names = {}
    for key in FIELDS:
        section, _, name = key.rpartition(".")
        names[key] = f"OS_{section or 'DEFAULT'}__{name}".upper()
    return names


def _convert(known: dataclasses.Field[Any], texts: list[str], place: str, key: str) -> Any:
    default = known.default
    try:
        if isinstance(default, tuple):
            return tuple(part for text in texts for part in _parts(text))
        text = texts[-1]
        if not text and not isinstance(default, str):
            return default
        if isinstance(default, bool):
            return _boolean(text)
        if isinstance(default, (int, float)):
            value = type(default)(text)
            if not 0 <= value < float("inf"):
                raise ValueError("must not be negative or infinite")
            return value
    except ValueError as exc:
        shown = "" if known.metadata["secret"] else f" {texts[-1]!r}"
        raise SettingsError(f"setting {key} ({place}): value{shown} is no {type(default).__name__}: {exc}") from exc
    return text
