"""The three promises, wherever the agent is killed and whatever is lost on the way.

A program of events is generated: Heat creates, updates and deletes deployments as a real one does (tests/fakes.py says
how), the agent cycles, hooks end, runners die, the source is down. Between any two arrows a happening may strike: the
agent is killed, a request or its acknowledgement is lost, Heat changes its mind. When the faults stop, and after a
few cycles in peace, these hold:

    1. each hook was run at most once for an id
    2. each deployment that Heat lists is complete, by its own outcome
    3. no outcome was ever counted for another deployment
    4. what the journal calls signalled was really sent
    5. what was begun is settled in the end, whether Heat took it or withdrew it

The order of the arrows is what makes them hold: received, begin (= record), run, finish, send, signalled; a first
send trusts the newest document at hand, every repeat polls first. Each of these mutants is found out below:

    run before record        created; the agent is killed right after the hook began: the next one runs it again
    signalled before send    created, run; killed in between: Heat waits for ever
    repeat without a poll    created, updated while it ran; the acknowledgement is lost, so Heat has already replaced
                             the id: the repeat completes the new deployment with the old outputs

One window remains, because Heat's signal names no id: a delete or replacement that happens after the poll on which a
send relies (for a repeat: between the poll and the repeat itself) and before the send arrives. The fake Heat counts
those apart (`window`); everything else is a broken promise. A real Heat replaces an id by itself only after it was
signalled, or on delete, so the window is a delete with an action for DELETE within the time of one poll.

Whoever asks for it is run again: by `on_interrupt: rerun` after each interruption, by status 194 after a reboot, three
times at most each. A last property adds these, over the real engine:

    1. each hook was run once, and once more for each interruption or reboot that it asked to be run after

The property is stated twice: over a model of the cycle that uses the pure core, so that its order can be mutated, and
over the real engine, of which only the runner is a stand-in.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, example, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample

from agent import log, model, parse
from agent.answers import Response
from agent.delivery import Delivery
from agent.dispatch import Running
from agent.engine import Engine
from agent.errors import Refused, Unavailable
from agent.metadata import Connection
from agent.model import Deployment, Json, JsonMap, Outcome
from agent.plan import Run, Signal, plan, unique, withdrawn
from agent.reboots import Reboots
from agent.settings import Given
from agent.state import Places
from tests.fakes import URL, Heat, MemoryJournal

SOURCE = "local"
RESOURCES = ("a", "b")

# What may strike between two arrows; losses strike when something is being sent.
KILL, LOSE_REQUEST, LOSE_ANSWER, BUSY = "kill", "lose the request", "lose the answer", "busy"
HEAT = ("create", "update", "delete", "delete_with_action")
CYCLE, END, DIE, RESTART, DARK, LIGHT = "cycle", "hook ends", "runner dies", "restart", "source down", "source up"
WISH, BOOT = "hook asks for a reboot", "the machine boots"

Program: TypeAlias = "list[tuple[str, str, list[str]]]"

NOTHING = [""] * 12
HAPPENINGS = st.sampled_from(
    [
        *NOTHING,
        KILL,
        KILL,
        LOSE_REQUEST,
        LOSE_ANSWER,
        LOSE_ANSWER,
        BUSY,
        *(f"{what} {who}" for what in HEAT for who in "ab"),
    ]
)
EVENTS = st.sampled_from([*HEAT, "update", CYCLE, CYCLE, CYCLE, END, END, END, DIE, RESTART, DARK, LIGHT])
PROGRAMS: st.SearchStrategy[Program] = st.lists(
    st.tuples(EVENTS, st.sampled_from(RESOURCES), st.lists(HAPPENINGS, max_size=10)), max_size=16
).map(lambda events: [("create", "a", []), *events])


class Killed(BaseException):
    """The agent is gone at this very arrow."""


class World:
    """Everything that outlives an agent: Heat, the wire, the disk, the runners, and time."""

    def __init__(self, directory: Path) -> None:
        self.heat = Heat()
        self.now = 1000.0
        self.dark = False
        self.runs: dict[str, int] = {}
        self.deaths: dict[str, int] = {}  # of runners, in the middle of a hook
        self.reboots: dict[str, int] = {}  # after which a hook that asked for one may go on
        self.boot = 0
        self.kept: list[JsonMap] = []
        self.journal = MemoryJournal(Places(directory / "state", directory / "deployed"), self.clock, self.arrow)
        self.lost_answers: set[str] = set()
        self._alive: set[str] = set()
        self._happenings: Iterator[str] = iter(())

    def clock(self) -> float:
        return self.now

    def strike(self, happenings: list[str]) -> None:
        self._happenings = iter(happenings)

    def arrow(self) -> str:
        """A moment between two arrows: something may happen here."""
        happening = next(self._happenings, "")
        if happening == KILL:
            raise Killed
        what, _, resource = happening.partition(" ")
        if what in HEAT:
            getattr(self.heat, what)(resource)
        return happening

    def fetch(self) -> list[JsonMap]:
        if self.dark:
            raise Unavailable("the source is down")
        return self.heat.listed()

    def send(self, resource: str, made_by: str) -> None:
        """The wire, which loses requests and answers, and Heat at its other end."""
        before = self.heat.tried_at(made_by)
        self.heat.attempted(made_by)
        happening = self.arrow()
        if happening == LOSE_REQUEST:
            raise Unavailable("connection refused", sent=False)
        if happening == BUSY:
            raise Unavailable("answered 503")
        status = self.heat.signal(resource, made_by, tried_before_at=before)
        if self.arrow() == LOSE_ANSWER:
            raise Unavailable("silent for 10 s")
        if status == 404:
            raise Refused("answered 404", status=404, final=True)

    def run(self, key: str) -> None:
        """A hook begins, in a process of its own."""
        self.runs[key] = self.runs.get(key, 0) + 1
        self._alive.add(key)

    def agent_died(self) -> None:
        """The kernel drops the locks that the agent held; those of its runners stay."""
        self.journal.locked &= self._alive

    def runner_died(self, key: str) -> None:
        if key in self._alive:
            self.deaths[key] = self.deaths.get(key, 0) + 1
        self._gone(key)

    def runner_ended(self, key: str) -> None:
        """The runner stores its outcome and goes; it knows nothing of the agent."""
        self._stores(key, answer(key))

    def runner_wished(self, key: str) -> None:
        """Its hook ended with 194: the outcome names the boot that it is to end."""
        self._stores(key, {**answer(key), "deploy_status_code": 194, model.REBOOT_FROM: f"boot {self.boot}"})

    def booted(self) -> None:
        """Everything that ran is gone, and it is another boot."""
        for key in self.alive:
            self.runner_died(key)
        for key, entry in self.journal.entries().items():
            if entry.progress == model.REBOOTING:
                self.reboots[key] = self.reboots.get(key, 0) + 1
        self.boot += 1
        self.agent_died()

    @property
    def reboot_wanted(self) -> bool:
        """Whether whoever rebooted this machine now would do a hook a favour."""
        return any(entry.progress == model.REBOOTING for entry in self.journal.entries().values())

    def _stores(self, key: str, body: JsonMap) -> None:
        if key in self._alive:
            self._undisturbed(partial(self.journal.finish, key, body))
        self._gone(key)

    def _gone(self, key: str) -> None:
        self._alive.discard(key)
        self.journal.locked.discard(key)

    def _undisturbed(self, act: Callable[[], None]) -> None:
        later, self._happenings = self._happenings, iter(())
        act()
        self._happenings = later

    @property
    def alive(self) -> list[str]:
        return sorted(self._alive)


def answer(key: str) -> JsonMap:
    return Outcome(0, outputs={"made_by": key}).body()


def interrupted(key: str) -> JsonMap:
    return Outcome(model.STATUS_INTERRUPTED, "", "interrupted\n", {"made_by": key}).body()


# ------------------------------------------------------------------------------------- a model of the cycle


class Agent:
    """engine.Engine in forty lines: the same arrows in the same order, over the same pure core."""

    def __init__(self, world: World) -> None:
        self.world, self.journal = world, world.journal
        self.watched = {key for key, entry in self.journal.entries().items() if entry.progress == model.RUNNING}
        self.cancelled: set[str] = set()

    def cycle(self) -> None:
        fresh = self.poll()
        for key, entry in self.journal.entries().items():
            if entry.progress == model.INTERRUPTED and key not in self.watched:
                self.journal.finish(key, interrupted(key))
        deployments = self.deployments()
        for entry in withdrawn(deployments, self.journal.entries(), fresh):
            if entry.progress == model.FINISHED:
                self.journal.settle(entry.key, model.SUPERSEDED)
            else:
                self.cancelled.add(entry.key)
        queue = []
        known = {d.key: self.journal.entry(d.key) for d in deployments}
        for step in plan(deployments, known, has_hook=lambda _group: True, now=self.world.now, fresh=fresh):
            match step:
                case Signal(deployment):
                    self.deliver(deployment)
                case Run(deployment):
                    queue.append(deployment)
        for deployment in queue:
            self.start(deployment)

    def poll(self) -> set[str]:
        try:
            self.world.kept = self.world.fetch()
        except Unavailable:
            return set()
        self.world.heat.polled()
        self.world.arrow()
        return {SOURCE}

    def deployments(self) -> tuple[Deployment, ...]:
        document = parse.document(SOURCE, {"deployments": list(self.world.kept)})
        return unique(parse.deployments(document).deployments)[0]

    def start(self, deployment: Deployment) -> None:
        self.record(deployment)
        self.run(deployment)

    def record(self, deployment: Deployment) -> None:
        self.journal.begin(deployment)

    def run(self, deployment: Deployment) -> None:
        self.world.run(deployment.key)
        self.watched.add(deployment.key)
        self.world.arrow()

    def ended(self, key: str) -> None:
        self.watched.discard(key)
        if self.journal.entry(key).progress == model.INTERRUPTED:
            self.journal.finish(key, interrupted(key))
        deployment = next((d for d in self.deployments() if d.key == key), None)
        if deployment is not None and key not in self.cancelled:
            self.deliver(deployment)
        elif key in self.cancelled:
            self.journal.settle(key, model.SUPERSEDED)

    def deliver(self, deployment: Deployment) -> None:
        try:
            self.send(deployment)
        except Unavailable as exc:
            self.journal.tried(deployment.key, str(exc), self.world.now + 1)
        except Refused:
            self.journal.settle(deployment.key, model.REFUSED)
        else:
            self.journal.settle(deployment.key, model.SIGNALLED)

    def send(self, deployment: Deployment) -> None:
        made_by = str(self.journal.outcome(deployment.key)["made_by"])
        self.world.send(deployment.endpoint.url.removeprefix(URL), made_by)


class RunsBeforeItRecords(Agent):
    def start(self, deployment: Deployment) -> None:
        self.run(deployment)
        self.record(deployment)


class SaysSignalledBeforeItSends(Agent):
    def deliver(self, deployment: Deployment) -> None:
        self.journal.settle(deployment.key, model.SIGNALLED)
        super().deliver(deployment)


class RepeatsWithoutAPoll(Agent):
    def poll(self) -> set[str]:
        if any(entry.progress == model.FINISHED for entry in self.journal.entries().values()):
            return {SOURCE}
        return super().poll()


class ForgetsWhatWasNotTaken(Agent):
    def deliver(self, deployment: Deployment) -> None:
        try:
            self.send(deployment)
        except (Unavailable, Refused):
            self.journal.settle(deployment.key, model.REFUSED)
        else:
            self.journal.settle(deployment.key, model.SIGNALLED)


class SendsWhatHeatNoLongerLists(Agent):
    def poll(self) -> set[str]:
        for key, entry in self.journal.entries().items():
            if entry.progress == model.FINISHED:
                resource = key.split("-")[1]
                self.deliver(parse.deployment(self.world.heat._element(resource, key)))
        return super().poll()


# ----------------------------------------------------------------------------------------- playing a program


def play(world: World, make: Callable[[World], Any], program: Program) -> None:
    """Live through a program, then in peace until nothing changes any more."""
    agent = make(world)
    for event, resource, happenings in program:
        world.now += 10
        world.strike(happenings)
        try:
            agent = happen(world, make, agent, event, resource)
        except Killed:
            world.agent_died()
            world.strike([])
            agent = make(world)
    world.strike([])
    world.dark = False
    for _ in range(12):
        world.now += 1000
        agent.cycle()
        for key in world.alive:
            end(world, agent, key, world.runner_ended)
        if world.reboot_wanted:
            world.booted()
            agent = make(world)


def happen(world: World, make: Callable[[World], Any], agent: Any, event: str, resource: str) -> Any:
    if event in HEAT:
        getattr(world.heat, event)(resource)
    elif event == CYCLE:
        agent.cycle()
    elif event in (DARK, LIGHT):
        world.dark = event == DARK
    elif event == RESTART:
        world.agent_died()
        return make(world)
    elif event == BOOT:
        world.booted()
        return make(world)
    elif key := next((key for key in world.alive if key.split("-")[1] == resource), ""):
        how = {END: world.runner_ended, DIE: world.runner_died, WISH: world.runner_wished}[event]
        end(world, agent, key, how)
    return agent


def end(world: World, agent: Any, key: str, how: Callable[[str], None]) -> None:
    """A runner goes; the agent hears of those that it watches."""
    how(key)
    if key in agent.watched:
        agent.ended(key)


def allowed(world: World, key: str) -> int:
    """How often a hook may have been run: once, and whenever it asked to be run after what happened."""
    rerun = world.heat.options.get(key.split("-")[1], {}).get("on_interrupt") == "rerun"
    return 1 + (min(world.deaths.get(key, 0), 3) if rerun else 0) + min(world.reboots.get(key, 0), 3)


def broken_promises(world: World) -> list[str]:
    heat, entries = world.heat, world.journal.entries()
    stolen = {told.rpartition(" ")[2] for told in heat.window}
    return [
        *(
            f"the hook of {key} was run {times} times"
            for key, times in world.runs.items()
            if times > allowed(world, key)
        ),
        *(f"{known.id} waits for ever" for known in heat.resources.values() if not known.complete),
        *heat.wrong,
        *(
            f"{key} is called signalled and was never sent"
            for key, entry in entries.items()
            if entry.progress == model.SIGNALLED and key not in heat.taken
        ),
        *(
            f"{key} is never settled ({entry.progress})"
            for key, entry in entries.items()
            if entry.progress in (model.RUNNING, model.INTERRUPTED, model.FINISHED, model.REBOOTING)
        ),
        *(
            f"{known.id} is complete without its own outcome"
            for known in heat.resources.values()
            if known.complete and known.id not in heat.taken | stolen
        ),
    ]


def lived(make: Callable[[World], Any], directory: Path, program: Program) -> list[str]:
    world = World(directory)
    play(world, make, program)
    return broken_promises(world)


LOST_ACKNOWLEDGEMENT: Program = [
    ("create", "a", []),
    (CYCLE, "a", []),
    ("update", "a", []),
    (END, "a", ["", LOSE_ANSWER]),
    (CYCLE, "a", []),
]
LOST_IN_THE_DARK: Program = [*LOST_ACKNOWLEDGEMENT[:4], (DARK, "a", []), (CYCLE, "a", [])]
ENDED_BEFORE_THE_FIRST_CYCLE: Program = [("create", "a", []), (CYCLE, "a", []), (RESTART, "a", []), (END, "a", [])]
LOOSE = settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))


@LOOSE
@example(LOST_ACKNOWLEDGEMENT)
@example(LOST_IN_THE_DARK)
@given(PROGRAMS)
def test_whatever_happens_no_hook_runs_twice_and_no_outcome_is_lost_or_misplaced(program: Program) -> None:
    assert [] == lived(Agent, Path("/nowhere"), program)


@pytest.mark.parametrize(
    ("mutant", "promise"),
    [
        (RunsBeforeItRecords, "was run 2 times"),
        (SaysSignalledBeforeItSends, "is called signalled and was never sent"),
        (RepeatsWithoutAPoll, "counted for"),
        (ForgetsWhatWasNotTaken, "waits for ever"),
        (SendsWhatHeatNoLongerLists, "counted for"),
    ],
)
def test_another_order_of_the_arrows_breaks_a_promise(mutant: type[Agent], promise: str) -> None:
    def breaks(program: Program) -> bool:
        return any(promise in broken for broken in lived(mutant, Path("/nowhere"), program))

    search = settings(LOOSE, max_examples=5000, derandomize=True, database=None, phases=[Phase.generate])
    try:
        find(PROGRAMS, breaks, settings=search)
    except NoSuchExample:
        pytest.fail(f"no program of 5000 shows what is wrong with {mutant.__name__}")


def test_the_known_window_is_the_only_one() -> None:
    """A delete with an action between the poll and the repeat: the fake Heat sees it, and counts it apart."""
    world = World(Path("/nowhere"))
    repeat: list[str] = ["delete_with_action a", "", ""]
    play(world, Agent, [*LOST_ACKNOWLEDGEMENT[:2], (END, "a", [LOSE_REQUEST]), (CYCLE, "a", repeat)])

    assert ["fake-a-0 counted for fake-a-1"] == world.heat.window
    assert [] == broken_promises(world)


# --------------------------------------------------------------------------------------------- the real engine


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Thousands of cycles have nothing to tell."""
    log.set_level("error")
    yield
    log.set_level("info")


class Wire:
    """transport.Client as far as signals use it, with the world behind it."""

    def __init__(self, world: World) -> None:
        self._world = world

    def request(self, _method: str, url: str, *, headers: Mapping[str, str], body: bytes) -> Response:
        assert "application/json" == headers["Content-Type"]
        told: dict[str, Json] = json.loads(body)
        assert "deploy_status_code" in told
        assert model.REBOOT_FROM not in told
        resource = url.removeprefix(URL)
        made_by = str(told.get("made_by") or self._interrupted(resource, str(told["deploy_stderr"])))
        self._world.send(resource, made_by)
        return Response(200, {}, b"")

    def _interrupted(self, resource: str, stderr: str) -> str:
        """An outcome of the agent's own making names the mark that it tells the operator to remove."""
        assert "interrupted" in stderr
        return f"fake-{resource}-" + stderr.partition(f"/fake-{resource}-")[2].partition(".json")[0]


class Driven(Engine):
    """The engine with the world's journal, wire and source; only its runners are no processes."""

    def __init__(self, world: World, root: Path) -> None:
        self.world, self.file = world, root / "var/lib/os-collect-config/local-data/heat.json"
        self.boot = root / "proc/sys/kernel/random/boot_id"
        flags = {"collectors": SOURCE, "kill_grace": "0", "max_parallel": "9", "reboot_command": ""}
        super().__init__(Given(root, flags), can_hold=False, clock=world.clock)
        self.journal = world.journal  # type: ignore[assignment]
        self._delivery = Delivery(self.journal, self.metadata, world.clock, lambda _low, high: high)
        self._reboots = Reboots(self.journal, world.clock)
        known = Connection(Wire(world), self.metadata.connection("").tokens)  # type: ignore[arg-type]
        self.metadata.connection = lambda _section: known  # type: ignore[method-assign]
        self.open()

    @property
    def watched(self) -> set[str]:
        return set(self.running)

    def cycle(self, sources: Any = None) -> Any:
        self.file.write_text("down" if self.world.dark else json.dumps({"deployments": self.world.heat.listed()}))
        if not self.world.dark:
            self.world.heat.polled()
        self.boot.write_text(f"boot {self.world.boot}\n")
        return super().cycle(sources)

    def _start(self) -> None:
        while self._queue and not self._reboots.wanted:
            deployment = self._queue.popleft()
            if self.journal.entry(deployment.key).progress not in (model.UNKNOWN, model.RECEIVED):
                continue
            self.journal.begin(deployment)
            self.world.run(deployment.key)
            self.running[deployment.key] = Running(deployment.key, 0, -1, child=False)
            self.world.arrow()


def world_of(directory: Path, **options: JsonMap) -> World:
    """A world with a disk, as far as the real engine looks at it; `options` are of deployments, by name."""
    below = ("var/lib/os-collect-config/local-data", "var/lib/os-deploy-agent/documents", "proc/sys/kernel/random")
    for name in below:
        (directory / name).mkdir(parents=True)
    world = World(directory)
    world.journal.places = Places(directory / "var/lib/os-deploy-agent", directory / "deployed")
    world.heat.options = options
    return world


@settings(LOOSE, max_examples=150)
@example(LOST_ACKNOWLEDGEMENT)
@example(LOST_IN_THE_DARK)
@example(ENDED_BEFORE_THE_FIRST_CYCLE)
@given(program=PROGRAMS)
def test_the_real_engine_keeps_the_promises_too(tmp_path_factory: pytest.TempPathFactory, program: Program) -> None:
    root = tmp_path_factory.mktemp("guest")
    world = world_of(root)

    play(world, partial(Driven, root=root), program)

    assert [] == broken_promises(world)


# ------------------------------------------------------------------------------------------------- run again

AGAIN: st.SearchStrategy[Program] = st.lists(
    st.tuples(
        st.sampled_from([*HEAT, CYCLE, CYCLE, CYCLE, END, DIE, DIE, WISH, WISH, BOOT, BOOT, RESTART, DARK, LIGHT]),
        st.sampled_from(RESOURCES),
        st.lists(HAPPENINGS, max_size=10),
    ),
    max_size=20,
).map(lambda events: [("create", "a", []), ("create", "b", []), (CYCLE, "a", []), *events])
INTERRUPTED_FOUR_TIMES: Program = [("create", "b", []), (CYCLE, "b", []), *[(DIE, "b", [])] * 4]
REBOOTED_FOUR_TIMES: Program = [
    ("create", "a", []),
    (CYCLE, "a", []),
    *[(what, "a", []) for _ in range(4) for what in (WISH, CYCLE, BOOT, CYCLE)],
]
KILLED_AT_THE_COUNT: Program = [("create", "a", []), (CYCLE, "a", []), (WISH, "a", [KILL]), (CYCLE, "a", [KILL])]


@settings(LOOSE, max_examples=150)
@example(INTERRUPTED_FOUR_TIMES)
@example(REBOOTED_FOUR_TIMES)
@example([*KILLED_AT_THE_COUNT, (BOOT, "a", []), (CYCLE, "a", ["", KILL])])
@given(program=AGAIN)
def test_whoever_asks_to_be_run_again_is_and_no_oftener(
    tmp_path_factory: pytest.TempPathFactory, program: Program
) -> None:
    root = tmp_path_factory.mktemp("guest")
    world = world_of(root, b={"on_interrupt": "rerun"})

    play(world, partial(Driven, root=root), program)

    assert [] == broken_promises(world)


@pytest.mark.parametrize(("program", "key"), [(INTERRUPTED_FOUR_TIMES, "fake-b-0"), (REBOOTED_FOUR_TIMES, "fake-a-0")])
def test_three_more_runs_are_given_and_no_fourth(tmp_path: Path, program: Program, key: str) -> None:
    world = world_of(tmp_path, b={"on_interrupt": "rerun"})

    play(world, partial(Driven, root=tmp_path), program)

    assert 4 == world.runs[key]
    assert [key] == [known.id for known in world.heat.resources.values() if known.complete]
