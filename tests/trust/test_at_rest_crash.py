"""kill -9 between the moment an outcome is known to be taken and the moment its secrets are off the disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.endpoint import listening
from tests.process.guest import Guest, until
from tests.trust.resting import deployment, found

pytestmark = pytest.mark.slow

RECORD = "agent rename var/lib/os-deploy-agent/journal/id-web.json"
DOCUMENT = "var/lib/os-deploy-agent/documents/"


def crashed(point: str, scratch: Path) -> tuple[bool, tuple[dict[str, list[str]], int, str]]:
    """Whether secrets were there after the crash; which are after a start without a source; how often it was told."""
    root = scratch / "root"
    root.mkdir(parents=True)
    with listening() as endpoint:
        guest = Guest(root, endpoint, flags={"once_patience": "0"})
        endpoint.serve(deployment(endpoint, "web"))
        try:
            guest.once(environment=guest.shim(scratch / "record", SHIM_KILL=point, SHIM_VICTIMS="agent"))
            assert (scratch / "record.killed").exists(), point
            until(lambda: not guest.runners(), "the runner to end")
            left = bool(found(guest))
            endpoint.metadata_status = 500
            guest.once()
            return left, (found(guest), len(endpoint.of("web")), guest.states()["id-web"])
        finally:
            guest.end()


def points(scratch: Path) -> list[str]:
    """The agent's calls on the kept document behind the record that the outcome was taken, in an undisturbed run."""
    (scratch / "root").mkdir(parents=True)
    with listening() as endpoint:
        guest = Guest(scratch / "root", endpoint)
        endpoint.serve(deployment(endpoint, "web"))
        guest.once(environment=guest.shim(scratch / "record"))
    calls = (scratch / "record").read_text().splitlines()
    settled = max(number for number, call in enumerate(calls) if call.startswith(RECORD))
    return [call for call in calls[settled + 1 :] if call.split()[0] == "agent" and DOCUMENT in call]


def test_the_next_start_takes_off_the_disk_what_a_crash_left_there(tmp_path: Path) -> None:
    calls = points(tmp_path / "recorded")

    with ThreadPoolExecutor(3) as pool:  # a crash mostly waits
        told = list(pool.map(lambda pair: crashed(pair[1], tmp_path / str(pair[0])), enumerate(calls)))

    assert ["open", "write", "fsync", "rename"] == [call.split()[1] for call in calls][:4]
    assert {True} == {left for left, _ in told[:4]}  # else nothing was tested
    assert {call: ({}, 1, "signalled") for call in calls} == dict(zip(calls, (rest for _, rest in told), strict=True))
