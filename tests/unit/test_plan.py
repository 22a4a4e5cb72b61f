"""What is to be done: each deployment gets one step or none, and nothing is sent that is not listed."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import model
from agent.model import Deployment, Entry
from agent.plan import NO_PHASES, Hold, Phases, Run, Signal, Step, phases_due, plan, unique, withdrawn
from tests.unit.values import deployment, entry

PROGRESS = (
    model.UNKNOWN,
    model.RECEIVED,
    model.RUNNING,
    model.INTERRUPTED,
    model.FINISHED,
    *sorted(model.SETTLED),
)
NOW = 1000.0


def steps(
    deployments: list[Deployment],
    journal: dict[str, Entry] | None = None,
    *,
    hooks: tuple[str, ...] = ("script",),
    grace_s: float = 0.0,
    fresh: set[str] | None = None,
    phases: Phases = NO_PHASES,
) -> tuple[Step, ...]:
    known = journal or {}
    return plan(deployments, known, has_hook=hooks.__contains__, now=NOW, grace_s=grace_s, fresh=fresh, phases=phases)


def test_a_deployment_never_seen_is_run() -> None:
    new = deployment("d1")

    assert (Run(new),) == steps([new])


@pytest.mark.parametrize("progress", [model.RUNNING, model.INTERRUPTED, *sorted(model.SETTLED)])
def test_what_was_begun_or_is_settled_is_left_alone(progress: str) -> None:
    assert () == steps([deployment("d1")], {"d1": entry("d1", progress)})


def test_an_outcome_on_disk_is_sent() -> None:
    done = deployment("d1")

    assert (Signal(done),) == steps([done], {"d1": entry("d1", model.FINISHED)})


def test_an_outcome_is_not_sent_before_its_next_try_is_due() -> None:
    early, due = entry("d1", model.FINISHED, next_try_at=NOW + 1), entry("d2", model.FINISHED, next_try_at=NOW)

    assert (Signal(deployment("d2")),) == steps([deployment("d1"), deployment("d2")], {"d1": early, "d2": due})


def test_an_outcome_is_not_sent_while_its_source_does_not_answer() -> None:
    journal = {"d1": entry("d1", model.FINISHED)}

    assert () == steps([deployment("d1", source="cfn")], journal, fresh={"local"})
    assert (Signal(deployment("d1")),) == steps([deployment("d1", source="cfn")], journal, fresh={"cfn"})


def test_a_run_needs_no_fresh_source() -> None:
    assert (Run(deployment("d1")),) == steps([deployment("d1")], fresh=set())


def test_signals_come_first_and_both_kinds_keep_heats_order() -> None:
    listed = [deployment(f"d{number}") for number in range(6)]
    journal = {key: entry(key, model.FINISHED) for key in ("d1", "d4")}

    planned = steps(listed, journal)

    assert ["d1", "d4", "d0", "d2", "d3", "d5"] == [step.deployment.id for step in planned]


def test_a_group_without_a_hook_is_held_until_the_grace_is_over_and_then_answered() -> None:
    lonely = deployment("d1", group="ansible")

    assert (Hold(lonely, NOW + 60),) == steps([lonely], grace_s=60)
    assert (Hold(lonely, NOW + 1),) == steps(
        [lonely], {"d1": entry("d1", model.RECEIVED, received_at=NOW - 59)}, grace_s=60
    )
    assert (Run(lonely),) == steps([lonely], {"d1": entry("d1", model.RECEIVED, received_at=NOW - 60)}, grace_s=60)


def test_without_a_grace_nothing_is_held() -> None:
    lonely = deployment("d1", group="ansible")

    assert (Run(lonely),) == steps([lonely])


def test_a_hook_that_arrives_ends_the_wait() -> None:
    lonely = deployment("d1", group="ansible")
    journal = {"d1": entry("d1", model.RECEIVED, received_at=NOW - 1)}

    assert (Run(lonely),) == steps([lonely], journal, hooks=("ansible",), grace_s=60)


def test_a_faulty_deployment_is_answered_at_once_whatever_its_group() -> None:
    faulty = replace(deployment("d1", group="ansible"), fault="its group is a number")

    assert (Run(faulty),) == steps([faulty], grace_s=60)


def test_an_id_listed_twice_counts_once_and_is_named() -> None:
    one, twin, other = deployment("d1"), replace(deployment("d1"), name="twin"), deployment("d2")

    assert (Run(one), Run(other)) == steps([one, twin, other])
    assert ((one, other), ("d1",)) == unique([one, twin, other, twin])


# ------------------------------------------------------------------------------------------------ withdrawn


def test_an_id_that_moved_to_another_source_is_still_wanted() -> None:
    journal = {"d1": entry("d1", model.RUNNING, source="cfn")}

    assert () == withdrawn([deployment("d1", source="heat")], journal, {"cfn", "heat"})


def test_an_id_that_two_sources_list_is_still_wanted_whichever_came_first() -> None:
    both, _ = unique([deployment("d1", source="heat"), deployment("d1", source="cfn")])

    assert () == withdrawn(both, {"d1": entry("d1", model.RUNNING, source="cfn")}, {"cfn", "heat"})


def test_what_its_own_source_no_longer_lists_is_withdrawn() -> None:
    journal = {key: entry(key, model.FINISHED) for key in ("d1", "d2")}

    assert (journal["d2"],) == withdrawn([deployment("d1")], journal, {"cfn"})


def test_a_source_that_did_not_answer_takes_nothing_away() -> None:
    assert () == withdrawn([], {"d1": entry("d1", model.RUNNING)}, set())


def test_a_source_that_never_listed_an_id_takes_nothing_away() -> None:
    assert () == withdrawn([], {"d1": entry("d1", model.RUNNING, source="cfn")}, {"local", "heat"})


@pytest.mark.parametrize("progress", PROGRESS)
def test_only_what_runs_or_waits_to_be_sent_can_be_withdrawn(progress: str) -> None:
    gone = withdrawn([], {"d1": entry("d1", progress)}, {"cfn"})

    assert (progress in (model.RUNNING, model.FINISHED)) == bool(gone)


# ------------------------------------------------------------------------------------------------- the laws

DEPLOYMENTS = st.lists(
    st.builds(
        lambda number, group, source, fault: replace(deployment(f"d{number}", group=group, source=source), fault=fault),
        st.integers(0, 5),
        st.sampled_from(["script", "ansible", ""]),
        st.sampled_from(["cfn", "heat"]),
        st.sampled_from(["", "no id"]),
    ),
    max_size=8,
)
TIMES = st.tuples(st.sampled_from([0.0, NOW - 5, NOW + 5]), st.sampled_from([0.0, NOW + 5]))
JOURNALS = st.dictionaries(
    st.sampled_from([f"d{number}" for number in range(6)]), st.tuples(st.sampled_from(PROGRESS), TIMES)
).map(
    lambda found: {
        key: Entry(key, progress, source="cfn", received_at=received, next_try_at=due)
        for key, (progress, (received, due)) in found.items()
    }
)
FRESH = st.none() | st.sets(st.sampled_from(["cfn", "heat"]))


@given(DEPLOYMENTS, JOURNALS, st.sampled_from([0.0, 3.0, 60.0]), FRESH)
def test_each_deployment_gets_one_step_or_none(
    deployments: list[Deployment], journal: dict[str, Entry], grace_s: float, fresh: set[str] | None
) -> None:
    planned = steps(deployments, journal, grace_s=grace_s, fresh=fresh)

    keys = [step.deployment.key for step in planned]
    firsts = {d.key: number for number, d in reversed(list(enumerate(deployments)))}
    assert len(set(keys)) == len(keys)
    signals = [step for step in planned if isinstance(step, Signal)]
    assert signals == list(planned[: len(signals)])
    for group in (signals, planned[len(signals) :]):
        order = [firsts[step.deployment.key] for step in group]
        assert sorted(order) == order
    for step in planned:
        progress = journal[step.deployment.key].progress if step.deployment.key in journal else model.UNKNOWN
        match step:
            case Signal(found):
                assert model.FINISHED == progress
                assert fresh is None or found.source in fresh
            case Run() | Hold():
                assert progress in (model.UNKNOWN, model.RECEIVED)
    for found in deployments:
        waiting = found.key not in journal or journal[found.key].progress in (model.UNKNOWN, model.RECEIVED)
        assert not waiting or found.key in keys


@given(DEPLOYMENTS, JOURNALS, st.sets(st.sampled_from(["cfn", "heat"])))
def test_nothing_that_is_listed_is_withdrawn(
    deployments: list[Deployment], journal: dict[str, Entry], fresh: set[str]
) -> None:
    gone = withdrawn(deployments, journal, fresh)

    listed = {found.key for found in deployments}
    assert all(known.key not in listed and known.source in fresh for known in gone)


# --------------------------------------------------------------------------------------------------- phases

NEW = Phases(wanted="new", succeeded="old")


def test_phases_are_due_for_metadata_that_they_did_not_succeed_for() -> None:
    assert phases_due(NEW, NOW)
    assert not phases_due(Phases(wanted="new", succeeded="new"), NOW)
    assert not phases_due(Phases(wanted="", succeeded="old"), NOW)
    assert not phases_due(replace(NEW, running=True), NOW)


def test_phases_that_failed_are_due_after_a_pause_or_at_once_for_other_metadata() -> None:
    failed = replace(NEW, failed="new", retry_at=NOW + 1)

    assert not phases_due(failed, NOW)
    assert phases_due(failed, NOW + 1)
    assert phases_due(replace(failed, wanted="newer"), NOW)


def test_a_deployment_waits_for_the_phases_without_a_date_while_none_have_failed() -> None:
    new = deployment("d1")

    assert (Hold(new, float("inf"), for_phases=True),) == steps([new], phases=NEW)
    assert (Run(new),) == steps([new], phases=replace(NEW, succeeded="new"))


def test_a_run_lets_those_through_that_its_metadata_listed() -> None:
    old, new = deployment("d1"), deployment("d2")
    open_ = replace(NEW, running=True, admitted=frozenset({"d1"}))

    assert (Run(old), Hold(new, float("inf"), for_phases=True)) == steps([old, new], phases=open_)


@pytest.mark.parametrize(
    ("failing_since", "received_at", "until"), [(NOW - 50, NOW - 20, NOW + 80), (NOW - 20, NOW - 50, NOW + 80)]
)
def test_patience_begins_when_both_the_failures_and_the_deployment_are_there(
    failing_since: float, received_at: float, until: float
) -> None:
    failing = replace(NEW, failing_since=failing_since, failed_run_at=NOW - 10, patience_s=100.0)

    [held] = steps([deployment("d1")], {"d1": entry("d1", model.RECEIVED, received_at=received_at)}, phases=failing)

    assert Hold(deployment("d1"), until, for_phases=True) == held


def test_after_that_it_is_failed_with_the_reason_and_not_before_a_run_failed_that_knew_it() -> None:
    failing = replace(NEW, failing_since=NOW - 500, failed_run_at=NOW - 200, patience_s=100.0, reason="10-x ended")
    journal = {key: entry(key, model.RECEIVED, received_at=at) for key, at in (("d1", NOW - 300), ("d2", NOW - 150))}

    given_up, waiting = steps([deployment("d1"), deployment("d2")], journal, phases=failing)

    assert isinstance(given_up, Run)
    assert "10-x ended" in given_up.deployment.fault
    assert Hold(deployment("d2"), float("inf"), for_phases=True) == waiting


def test_outcomes_are_sent_whatever_the_phases_do() -> None:
    done = deployment("d1")

    assert (Signal(done),) == steps([done], {"d1": entry("d1", model.FINISHED)}, phases=NEW)
