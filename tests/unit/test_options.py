"""Options that every deployment has: what they mean, and what is wrong with the wrong ones."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import options, parse
from agent.model import Deployment
from agent.options import Manner


def parsed(**given: Any) -> Deployment:
    return parse.deployment({"id": "d1", "group": "script", "config": "true", "options": given})


@pytest.mark.parametrize(
    ("given_options", "manner"),
    [
        ({}, Manner()),
        ({"color": "blue"}, Manner()),
        ({"on_interrupt": "rerun"}, Manner(rerun=True)),
        ({"on_interrupt": "fail"}, Manner()),
        ({"on_interrupt": None, "run_as": "", "memory": ""}, Manner()),
        ({"run_as": "web-1"}, Manner(run_as="web-1")),
        ({"run_as": 1000}, Manner(run_as="1000")),
        ({"memory": "2G", "cpu_time": 7.0}, Manner(limits={"memory": 2 << 30, "cpu_time": 7})),
        ({"open_files": "64"}, Manner(limits={"open_files": 64})),
        ({"cpu": 150}, Manner(cpu_percent=150)),
        ({"cpu": "50%"}, Manner(cpu_percent=50)),
        ({"tasks": 5, "run_as": "web"}, Manner(run_as="web", limits={"tasks": 5})),
        ({"timeout": "1.5"}, Manner(timeout_s=1.5)),
    ],
)
def test_options_say_how_a_deployment_is_run(given_options: dict[str, Any], manner: Manner) -> None:
    deployment = parsed(**given_options)

    assert ("", manner) == (deployment.fault, deployment.manner)


@pytest.mark.parametrize(
    ("given_options", "fault"),
    [
        ({"on_interrupt": "again"}, "its option on_interrupt is neither fail nor rerun"),
        ({"on_interrupt": True}, "its option on_interrupt is neither fail nor rerun"),
        ({"run_as": "a b"}, "its option run_as is neither a user's name nor a uid"),
        ({"run_as": -1}, "its option run_as is neither a user's name nor a uid"),
        ({"memory": "lots"}, "its option memory is no positive whole number, or one with K, M, G or T"),
        ({"cpu_time": 0}, "its option cpu_time is no positive whole number"),
        ({"open_files": 1.5}, "its option open_files is no positive whole number"),
        ({"tasks": True, "run_as": "web"}, "its option tasks is no positive whole number"),
        ({"cpu": "0%"}, "its option cpu is no percentage of one CPU from 1 to 100000"),
        ({"cpu": [50]}, "its option cpu is no percentage of one CPU from 1 to 100000"),
    ],
)
def test_a_wrong_option_is_a_fault_of_the_deployment(given_options: dict[str, Any], fault: str) -> None:
    assert fault == parsed(**given_options).fault


VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.lists(st.none()))


@given(st.dictionaries(st.sampled_from(sorted(options.COMMON)), VALUES))
def test_no_value_of_an_option_is_too_strange(strange: dict[str, Any]) -> None:
    faults: list[str] = []

    manner = options.parse(strange, faults)

    assert all(number > 0 for number in manner.limits.values())
    assert all(fault.startswith("its option ") for fault in faults)
