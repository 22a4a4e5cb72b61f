"""Group `kubelet`: the config is a pod; its manifest is put where a kubelet looks, then its containers are awaited.

The contract is heat-agents' hook-kubelet.py and its sync script: manifests named after the deployment's id, containers
named `k8s_<container>.<hash>_<id>`. It asked the engine by docker-py 1; here the engine's command line is asked.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent import model
from agent.errors import MetadataError
from agent.hooks import containers, reading, tools, writing
from agent.hooks.containers import Engine
from agent.hooks.workplace import Workplace
from agent.model import Deployment, Json, JsonMap, Outcome

MANIFESTS = "/var/lib/heat-config/heat-config-kubelet/kubelet-manifests"
DEFAULTS = {"images_timeout": 600.0, "containers_timeout": 120.0, "poll_period": 5.0}
OPTIONS = frozenset(DEFAULTS)
REFUSES_USER = containers.REFUSES_USER
REFUSES_LIMITS = "the kubelet starts the containers; give resources.limits in the pod"


@dataclass(frozen=True, slots=True)
class Pod:
    """What to wait for: image -> prefix of its name with a tag, container -> pattern of its name."""

    images: dict[str, str] = field(default_factory=dict)
    names: dict[str, re.Pattern[str]] = field(default_factory=dict)


def run(deployment: Deployment, place: Workplace) -> Outcome:
    path = _manifest(deployment, place)
    try:
        if deployment.action == "DELETE":
            path.unlink(missing_ok=True)
            return Outcome(0)
        config = reading.config_map(deployment)
        pod, seconds = parse(deployment.id, config), _seconds(deployment)
        engine = containers.engine(place)
        if engine is None:
            return containers.no_engine(deployment, place)
        _write(path, config)
    except MetadataError as exc:
        return reading.data_fault(deployment, exc)
    except OSError as exc:
        return writing.not_written(deployment, path, exc)
    try:
        return _await_pod(engine, deployment, pod, seconds)
    except OSError as exc:
        return tools.not_started(engine.place, deployment, engine.argv[0], exc)


def sync(listed: Sequence[Deployment], place: Workplace) -> list[str]:
    """Write the manifest of each pod that is listed, remove all others; returns what went wrong."""
    pods = [deployment for deployment in listed if deployment.group == "kubelet" and deployment.action != "DELETE"]
    wanted = {_manifest(deployment, place): deployment for deployment in pods}
    problems = []
    for path, deployment in wanted.items():
        try:
            _write(path, reading.config_map(deployment))
        except (MetadataError, OSError) as exc:
            problems.append(f"the manifest of '{deployment.name}' is not written: {exc}")
    directory = place.path("HEAT_KUBELET_MANIFESTS", MANIFESTS)
    for path in sorted(set(directory.glob("*.json")) - wanted.keys()):
        path.unlink(missing_ok=True)
    return problems


def _manifest(deployment: Deployment, place: Workplace) -> Path:
    return place.path("HEAT_KUBELET_MANIFESTS", MANIFESTS) / f"{deployment.key}.json"


def _write(path: Path, config: JsonMap) -> None:
    writing.make_directories(path.parent)
    writing.write_file(path, json.dumps(config, indent=2).encode(), 0o600, durable=True)


# ------------------------------------------------------------------------------------------- decides


def parse(id: str, config: JsonMap) -> Pod:
    """The pod of a manifest, as old ones (`containers`) or new ones (`spec.containers`) say. Raises MetadataError."""
    spec, metadata = config.get("spec"), config.get("metadata")
    listed = (spec if isinstance(spec, dict) else config).get("containers") or []
    pod_name = containers.text(metadata.get("name")) if isinstance(metadata, dict) else ""
    images, names = {}, {}
    for entry in listed if isinstance(listed, list) else [listed]:
        name, image = (entry.get("name"), entry.get("image")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(image, str) or not name or not image:
            raise MetadataError("one of its containers has no name or no image")
        images[image] = image if ":" in image.rpartition("/")[2] else f"{image}:"
        names[name] = _pattern(id, pod_name, name)
    return Pod(images, names)


def _pattern(id: str, pod_name: str, name: str) -> re.Pattern[str]:
    """How kubelets name a container: first by the file of its manifest, later by the pod."""
    named = [rf"{re.escape(name)}\.[0-9a-z]{{8}}_{re.escape(id.replace('-', '')[:15])}"]
    if pod_name:
        named.append(rf"{re.escape(name)}_{re.escape(pod_name)}[-_]")
    return re.compile(rf"/?k8s_(?:{'|'.join(named)})")


def _seconds(deployment: Deployment) -> dict[str, float]:
    seconds = {}
    for name, default in DEFAULTS.items():
        value: Json = deployment.options.get(name)
        try:
            seconds[name] = default if value in (None, "") else float(containers.text(value))
        except ValueError as exc:
            raise MetadataError(f"its option {name} is no number of seconds") from exc
    return seconds


# ------------------------------------------------------------------------------------------- acts


def _await_pod(engine: Engine, deployment: Deployment, pod: Pod, seconds: dict[str, float]) -> Outcome:
    told: list[str] = []

    def tell(line: str) -> None:
        told.append(f"{line}\n")
        if engine.place.log:
            engine.place.log(told[-1].encode())

    def images() -> set[str]:
        found = containers.lines(engine.ask("images", "--format", "{{.Repository}}:{{.Tag}}"))
        return {image for image, prefix in pod.images.items() if any(_names(prefix, known) for known in found)}

    def names() -> set[str]:
        found = containers.lines(engine.ask("ps", "--format", "{{.Names}}"))
        return {name for name, pattern in pod.names.items() if any(pattern.match(known) for known in found)}

    for what, wanted, look in (("images", set(pod.images), images), ("containers", set(pod.names), names)):
        limit_s, ends_at = seconds[f"{what}_timeout"], time.monotonic() + seconds[f"{what}_timeout"]
        tell(f"waiting for {what}: {', '.join(sorted(wanted))}")
        missing = _wait(wanted, look, min(ends_at, engine.ends_at), seconds["poll_period"])
        if missing:
            limit = f"{engine.place.timeout_s:g} s; see the deployment's option timeout"
            if ends_at <= engine.ends_at:
                limit = f"{limit_s:g} s; see the option {what}_timeout, and the kubelet's log"
            why = f"kubelet for '{deployment.name}': no {what} {', '.join(sorted(missing))} after {limit}\n"
            return Outcome(model.STATUS_TIMEOUT, "".join(told), why)
        tell(f"found {what}: {', '.join(sorted(wanted))}")
    return Outcome(0, "".join(told))


def _names(prefix: str, known: str) -> bool:
    """Whether a name with tag is of this image; podman writes the registry localhost before local ones."""
    return known.removeprefix("localhost/").startswith(prefix) or known.startswith(prefix)


def _wait(wanted: set[str], look: Callable[[], set[str]], ends_at: float, poll_s: float) -> set[str]:
    """Look until everything is there or the time is over; returns what is missing."""
    missing = wanted
    while missing:
        missing = missing - look()
        left = ends_at - time.monotonic()
        if not missing or left <= 0:
            break
        time.sleep(min(max(poll_s, 0.05), left))
    return missing
