"""Which machine this is, so that the disk of one is never the memory of another.

An image that was taken of a machine that had run holds its documents with their credentials, its marks and its journal.
A clone would poll and signal as the machine it came from. So a note beside the state says whose it is:

    instance.json   {"machine": firmware's UUID, "cloud": cloud-init's instance id, "former": {file: mtime}}

A fact that is unknown, then or now, proves nothing. Where one has changed, what belongs to the former machine is taken
away before anything is read; the new note is written last, so that a crash in between repeats it. Files that are not
ours stay where they are and are passed over for as long as nobody writes them anew: `former` names them.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from agent import documents, jsontext, keeping, log, state
from agent.errors import MetadataError, Unidentified
from agent.model import Json, JsonMap
from agent.settings import OLD_CONFIG, Settings, credentials_in
from agent.state import Places

NOTE = "instance.json"
FORMER = "former"
KEPT = frozenset({NOTE, FORMER, "lock"})
MACHINE = "/sys/class/dmi/id/product_uuid"  # Nova puts the server's id there
CONTAINER = "/run/systemd/container"  # whose firmware is its host's
CLOUD = "/run/cloud-init/.instance-id"  # of this boot; the one in /var/lib/cloud may still be the former's
EXPECTED = "/run/cloud-init/enabled"  # by cloud-init's generator, before any service starts
ENDED = "/run/cloud-init/result.json"  # by cloud-init, after its last stage
NO_DATA_SOURCE = "iid-datasource-none"  # a boot at which the metadata service was down


@dataclass(frozen=True, slots=True)
class Note:
    """Who a state directory belongs to; "" is unknown. `former` are files to pass over, by path, with their mtime."""

    machine: str = ""
    cloud: str = ""
    former: Mapping[str, int] = field(default_factory=dict)


def is_other(noted: Note, now: Note) -> bool:
    """Whether two notes are of two machines.

    A UUID that Nova gave decides alone: cloud-init's id may change its form with the data source that finds it.
    """
    if noted.machine and now.machine:
        if noted.machine not in (now.machine, swapped(now.machine)):
            return True
        if noted.machine in (noted.cloud, now.cloud):
            return False
    return bool(noted.cloud and now.cloud and noted.cloud != now.cloud)


def swapped(uuid: str) -> str:
    """The UUID as kernels and firmwares of the other opinion on byte order show it (SMBIOS 2.6, 7.2.1)."""
    parts = uuid.split("-")
    turned = ["".join(reversed([part[i : i + 2] for i in range(0, len(part), 2)])) for part in parts[:3]]
    return "-".join([*turned, *parts[3:]])


def settle(settings: Settings, places: Places, *, may_wait: bool) -> None:
    """Make sure that the state is this machine's own. The caller holds the lock and has read nothing of it yet.

    Raises Unidentified while cloud-init has yet to say who we are, unless it `may_wait` no longer.
    """
    noted, now = _noted(places), _look(settings)
    if not now.cloud and settings.path(EXPECTED).exists():
        if may_wait:
            raise Unidentified("waiting for cloud-init to say which instance this is: it has not yet found its data")
        log.warning("cloud-init did not say which instance this is", known=bool(now.machine))
    former = dict(noted.former)
    if is_other(noted, now):
        log.warning("another machine's state taken away", was=noted.cloud or noted.machine)
        former |= _left_by_former(settings, places)
        _write(places, Note(noted.machine, noted.cloud, former))
        _take_away(places, noted.cloud or noted.machine)
    found = Note(now.machine or noted.machine, now.cloud or noted.cloud, former)
    if found != noted:
        state.make_directory(places.state)
        _write(places, found)


def cloud_init_runs(settings: Settings) -> bool:
    """Whether cloud-init has yet to end its work of this boot, the scripts of user data included."""
    return settings.path(EXPECTED).exists() and not settings.path(ENDED).exists()


def passed_over(settings: Settings) -> frozenset[Path]:
    """Files that a former machine left, which nobody has written since. `touch` makes one of them ours."""
    note = _noted(Places(settings.path(settings.state_dir), settings.path(settings.deployed_dir)))
    return frozenset(Path(name) for name, written_at in note.former.items() if _written_at(Path(name)) == written_at)


def _look(settings: Settings) -> Note:
    machine = "" if settings.path(CONTAINER).exists() else _text(settings.path(MACHINE)).lower()
    cloud = _text(settings.path(CLOUD))
    return Note(machine, "" if cloud == NO_DATA_SOURCE else cloud)


def _noted(places: Places) -> Note:
    path = places.state / NOTE
    try:
        found = jsontext.decode_map(path.read_bytes(), str(path))
    except FileNotFoundError:
        return Note()
    except OSError as exc:
        raise state.failure("reading", path, exc) from exc
    except MetadataError as exc:
        state.move_aside(path, str(exc))
        return Note()
    former = found.get("former")
    times = former.items() if isinstance(former, dict) else ()
    return Note(
        str(found.get("machine") or ""),
        str(found.get("cloud") or ""),
        {name: int(jsontext.number(written_at)) for name, written_at in times},
    )


def _write(places: Places, note: Note) -> None:
    former: dict[str, Json] = dict(note.former)
    content: JsonMap = {"machine": note.machine, "cloud": note.cloud, "former": former}
    state.write(places.state / NOTE, state.dump(content))


def _left_by_former(settings: Settings, places: Places) -> dict[str, int]:
    """Files of others that hold what the former machine went by, and were not written since it read them."""
    found: dict[str, int] = {}
    for document in documents.kept(places):
        for name in settings.heat_local_path if document.source == "heat_local" else ():
            path = settings.path(name)
            with suppress(OSError, MetadataError):  # what cannot be read is used by nobody
                content = jsontext.decode_map(path.read_bytes(), str(path))
                known = keeping.bare(document.content)  # our own disk does not keep everything
                if path.stat().st_mtime <= document.fetched_at and keeping.bare(content).items() <= known.items():
                    found[str(path)] = _written_at(path)
    old = settings.root / OLD_CONFIG
    if _written_at(old) < _booted_at(settings) and credentials_in(old):
        found[str(old)] = _written_at(old)
    for name in found:
        log.warning("left by another machine, passed over", file=name, advice="touch it to have it used")
    return found


def _take_away(places: Places, former: str) -> None:
    """Keep the journal for the record; the rest goes, since it holds credentials and inputs."""
    kept = places.state / FORMER / "".join(c if c.isalnum() or c in "-_" else "%" for c in former)
    state.make_directory(kept.parent)
    state.make_directory(kept)
    try:
        for path in sorted(places.deployed.glob("*.json*")):
            path.unlink()
        for path in sorted(places.journal.glob("*.json")):
            path.rename(kept / path.name)
        for path in sorted(places.state.iterdir()):
            if path.name not in KEPT:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for directory in (places.deployed, kept, kept.parent, places.state):
            if directory.is_dir():
                state.sync_directory(directory)
    except OSError as exc:
        raise state.failure("taking away the state of another machine in", places.state, exc) from exc


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:  # not such a machine, or not our right to know
        return ""


def _written_at(path: Path) -> int:
    """Seconds since the epoch, as an archive keeps them; 0 for what is not there."""
    try:
        return int(path.stat().st_mtime)
    except OSError:
        return 0


def _booted_at(settings: Settings) -> float:
    """Seconds since the epoch; 0, which nothing is older than, where the kernel does not say."""
    for line in _text(settings.path("/proc/stat")).splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return 0.0
