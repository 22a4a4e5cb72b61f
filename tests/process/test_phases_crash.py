"""The machine goes down before any call that the phases and the deployments among them go through."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.process.endpoint import Endpoint, listening
from tests.process.guest import Guest
from tests.process.points import HOOK, NAMES, Point, certain, thinned
from tests.process.test_phases import template, witness
from tests.waiting import until

pytestmark = pytest.mark.slow

AT_MOST = 16
EVERYBODY = "agent,runner"
SCRIPTS = ("10-before", "90-behind", "1-last")


def arrange(guest: Guest, endpoint: Endpoint) -> None:
    """Scripts and a template around two deployments. The first process that the agent forks runs the phases."""
    witness(guest, "configure.d/10-before", "configure.d/90-behind", "migration.d/1-last")
    template(guest, "made", "{{place}}")
    endpoint.serve(*(endpoint.script(name, HOOK.replace("$NAME", name)) for name in NAMES), place="here")


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[Point]:
    scratch = tmp_path_factory.mktemp("recorded")
    (scratch / "root").mkdir()
    with listening() as endpoint:
        guest = Guest(scratch / "root", endpoint)
        arrange(guest, endpoint)
        ended = guest.once(environment=guest.shim(scratch / "record"))
        assert (0, list(NAMES)) == (ended.status, [sent.name for sent in endpoint.signals]), ended.stderr
    words = [line.split() for line in (scratch / "record").read_text().splitlines()]
    calls = [Point(role, call, subject, int(number)) for role, call, subject, number in words]
    begun = next(number for number, point in enumerate(calls) if point.role == "runner1")
    # runner1 runs the phases; how often the agent looks whether it has ended is chance
    return [p for p in certain(calls[begun:]) if p.role in ("agent", "runner1") and p.call != "waitpid"]


def crash(point: Point, scratch: Path) -> list[str]:
    (scratch / "root").mkdir(parents=True)
    with listening() as endpoint:
        guest = Guest(scratch / "root", endpoint)
        arrange(guest, endpoint)
        try:
            guest.once(environment=guest.shim(scratch / "record", SHIM_KILL=str(point), SHIM_VICTIMS=EVERYBODY))
            until(lambda: not guest.runners(), "the end of all that was killed")
            again = guest.once()
            missed = [] if (scratch / "record.killed").exists() else ["the point was never reached"]
            wrong = [] if again.status in (0, 1) else [f"ended with {again.status}: {again.stderr}"]
            return [*missed, *wrong, *faults(guest)]
        except AssertionError as exc:
            return [str(exc)]
        finally:
            guest.end()


def faults(guest: Guest) -> Iterator[str]:
    lines = guest.seen()
    for name in NAMES:
        if lines.count(f"begin-{name}") > 1:
            yield f"the hook of {name} ran twice"
        if not guest.endpoint.of(name):
            yield f"the outcome of {name} never came"
    if missing := [name for name in SCRIPTS if name not in lines]:
        yield f"never run: {missing}"
    if not (guest.root / "made").exists():
        yield "the template was not applied"
    if "succeeded" not in json.loads((guest.state / "phases.json").read_text()):
        yield "the phases never succeeded"
    if left := guest.rubble():
        yield f"left on disk: {left}"


def test_the_phases_run_again_and_no_hook_does(points: list[Point], tmp_path: Path) -> None:
    chosen = thinned(points, AT_MOST)
    assert {"agent", "runner1"} == {point.role for point in chosen}
    assert len(chosen) >= AT_MOST

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda pair: crash(pair[1], tmp_path / str(pair[0])), enumerate(chosen)))

    assert {} == {str(point): wrong for point, wrong in zip(chosen, found, strict=True) if wrong}
