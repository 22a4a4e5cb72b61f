"""Group `hiera`: data files for puppet's lookups, and the order in which they count.

The contract is heat-agents' hook-hiera.py: `datafiles` become `<datadir>/<name>.json`, `hierarchy` becomes hiera.yaml
in the syntax of hiera 3. It refuses where os-apply-config still renders hiera data, which would be two masters.
"""

from __future__ import annotations

import json
from pathlib import Path

from agent import yamltext
from agent.errors import ApplyError, MetadataError
from agent.hooks import reading, tools, workplace, writing
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, Outcome

CHECK = "HEAT_HIERA_ELEMENT_CHECK_CMD"
CHECK_ARGUMENTS = ["--key", "hiera.datafiles", "--type", "raw", "--key-default", "empty"]
DATA_DIRECTORY = "/etc/puppet/hieradata"
CONFIG_FILE = "/etc/puppet/hiera.yaml"
REFUSES_USER = "it writes the order of puppet's lookups for the whole guest, which is root's"


def run(deployment: Deployment, place: Workplace) -> Outcome:
    data_directory = place.path("HEAT_PUPPET_HIERA_DATADIR", DATA_DIRECTORY)
    try:
        files = _files(reading.config_map(deployment), data_directory, place.path("HEAT_HIERA_CONFIG", CONFIG_FILE))
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    refusal = _refusal(deployment, place)
    if refusal:
        return Outcome(1, "", f"hiera for '{deployment.name}' was not run: {refusal}\n")
    try:
        writing.place(files, 0o600)
    except (OSError, ApplyError) as exc:
        return writing.not_placed(deployment, exc)
    return Outcome(0)


def _files(config: dict[str, Json], data_directory: Path, config_file: Path) -> dict[Path, bytes]:
    """Every file that the config asks for, all or none."""
    data, hierarchy = config.get("datafiles"), config.get("hierarchy")
    if not isinstance(data, (dict, type(None))):
        raise MetadataError("its datafiles is no map of names to data")
    if not isinstance(hierarchy, (list, type(None))) or not all(isinstance(item, str) for item in hierarchy or ()):
        raise MetadataError("its hierarchy is no list of names")
    files = {}
    for name, content in (data or {}).items():
        if not name or "\0" in name or name.startswith("/") or ".." in Path(name).parts:
            raise MetadataError(f"the data file {name[:80]!r} would not be in {data_directory}; rename it")
        files[data_directory / f"{name}.json"] = writing.as_json(content)
    if hierarchy is not None:
        files[config_file] = _hiera_yaml(data_directory, [str(item) for item in hierarchy])
    return files


def _hiera_yaml(data_directory: Path, hierarchy: list[str]) -> bytes:
    lines = ["", "---", ":backends:", "  - json", ":json:", f"  :datadir: {data_directory}", ":hierarchy:"]
    return "".join(f"{line}\n" for line in [*lines, *(f"  - {_item(name)}" for name in hierarchy)]).encode()


def _item(name: str) -> str:
    """One name of the hierarchy. Templates quote what YAML wants quoted, as %{...}; for those that do not we do."""
    try:
        read = yamltext.decode(f"- {name}", "it")
    except MetadataError:
        read = None
    plain = isinstance(read, list) and len(read) == 1 and isinstance(read[0], str)
    return name if plain and "\n" not in name else json.dumps(name)


def _refusal(deployment: Deployment, place: Workplace) -> str:
    """Why hiera data is not ours to write, "" when it is. Without os-apply-config nobody else writes it."""
    argv = tools.command(place, CHECK, "os-apply-config")
    if not argv:
        return ""
    arguments = [] if place.environ.get(CHECK) else CHECK_ARGUMENTS
    try:
        finished = workplace.run(place, deployment, [*argv, *arguments], variables={}, cwd=Path("/"))
    except OSError:  # as if it were not there
        return ""
    if finished.timed_out:
        return workplace.timed_out("the check for old hiera data", deployment, place)
    if finished.status:
        said = finished.stderr.text().strip()
        return f"{Path(argv[0]).name}, asked for old hiera data, ended with {finished.status}; repair it ({said})"
    if finished.stdout.text().strip() == "empty":
        return ""
    return (
        "the metadata's key hiera.datafiles still holds data that os-apply-config renders; move it into deployments "
        "of the group hiera and remove the key"
    )
