"""Which configs of an `AWS::CloudFormation::Init` are run, and in which order: configSets, nested as one likes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from agent.errors import MetadataError

if TYPE_CHECKING:  # the model is 10 ms of classes
    from agent.model import Json, JsonMap

SETS = "configSets"
BARE = "config"
DEFAULT = "default"
MAX_CONFIGS = 1000


def choose(init: JsonMap, asked: Iterable[str] = ()) -> tuple[str, ...]:
    """The names of the configs to run; one named twice runs twice. Raises MetadataError before anything is run.

    Without configSets it is `config`; with them it is the asked sets, or the one called default.
    """
    names = [name.strip() for name in asked if name.strip()]
    sets = init.get(SETS)
    if sets is None:
        if names:
            raise MetadataError(f"choosing configs: {', '.join(names)} asked for, but the metadata has no {SETS}")
        chosen: tuple[str, ...] = (BARE,)
    elif not isinstance(sets, dict):
        raise MetadataError(f"choosing configs: {SETS} is no object of lists of names")
    else:
        chosen = tuple(config for name in names or [DEFAULT] for config in _expand(sets, name, ()))
    missing = sorted({name for name in chosen if name == SETS or not isinstance(init.get(name), dict)})
    if missing:
        known = ", ".join(sorted(key for key in init if key != SETS)) or "none"
        raise MetadataError(f"choosing configs: no config {', '.join(missing)} in the metadata; it has {known}")
    return chosen


def _expand(sets: Mapping[str, Json], name: str, above: tuple[str, ...]) -> tuple[str, ...]:
    if name in above:
        raise MetadataError(f"choosing configs: circular {SETS}: {' -> '.join((*above, name))}; break the circle")
    if name not in sets:
        known = ", ".join(sorted(sets)) or "none"
        raise MetadataError(f"choosing configs: no configSet {name}; the metadata has {known}")
    listed = sets[name]
    elements: list[Json] = listed if isinstance(listed, list) else [listed]
    if not elements:
        raise MetadataError(f"choosing configs: {SETS}.{name} is empty; name a config in it")
    configs: list[str] = []
    for number, element in enumerate(elements):
        configs += _element(sets, element, f"{SETS}.{name}[{number}]", (*above, name))
        if len(configs) > MAX_CONFIGS:
            raise MetadataError(f"choosing configs: {SETS}.{name} comes to more than {MAX_CONFIGS} configs")
    return tuple(configs)


def _element(sets: Mapping[str, Json], element: Json, path: str, above: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(element, str):
        return (element,)
    name = element.get("ConfigSet") if isinstance(element, dict) and len(element) == 1 else None
    if not isinstance(name, str):
        raise MetadataError(f'choosing configs: {path} is neither a name nor {{"ConfigSet": name}}')
    return _expand(sets, name, above)
