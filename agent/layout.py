"""Where image elements put templates and phases: a variable of the environment says it, a setting, an older place."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

TEMPLATES = "/usr/libexec/os-apply-config/templates"
TEMPLATES_VARIABLE = "OS_CONFIG_APPLIER_TEMPLATES"
PHASES = "/usr/libexec/os-refresh-config"
PHASES_VARIABLE = "OS_REFRESH_CONFIG_BASE_DIR"

_OLD_TEMPLATES = ("/opt/stack/os-apply-config/templates", "/opt/stack/os-config-applier/templates")
_OLD_PHASES = ("/opt/stack/os-config-refresh",)


def templates(environ: Mapping[str, str], root: Path = Path("/"), usual: str = TEMPLATES) -> tuple[str, str]:
    """The root of the templates, and the older place that it is, "" when it is none. A variable is taken as it is."""
    return _place(environ.get(TEMPLATES_VARIABLE), root, usual, _OLD_TEMPLATES)


def phases(environ: Mapping[str, str], root: Path = Path("/"), usual: str = PHASES) -> tuple[str, str]:
    """The directory of the phases, likewise."""
    return _place(environ.get(PHASES_VARIABLE), root, usual, _OLD_PHASES)


def _place(named: str | None, root: Path, usual: str, older: tuple[str, ...]) -> tuple[str, str]:
    if named is not None:
        return named, ""
    below = root / usual.lstrip("/")
    old = next((path for path in older if (root / path.lstrip("/")).is_dir()), None)
    if old is None or below.is_dir():
        return str(below), ""
    return str(root / old.lstrip("/")), old
