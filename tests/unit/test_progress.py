"""What of a hook's steps is shown, and where."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import parse, progress
from agent.errors import MetadataError
from agent.model import Credentials, Deployment, Json, JsonMap
from agent.signaller import Own

STACK = "web/0c1d"
CFN_PATH = "https://heat.example/v1/{}/arn%3Aopenstack%3Aheat%3A%3Ap%3Astacks/web/0c1d/resources/{}?Signature=x"
USER = Credentials("https://keystone.example/v3", "user", "secret", "project")


def deployment(option: Json = None, *, given: JsonMap | None = None, **inputs: Json) -> Deployment:
    values: JsonMap = {"deploy_stack_id": STACK, "deploy_resource_name": "deployment", **(given or {}), **inputs}
    listed: list[Json] = [{"name": name, "type": "String", "value": value} for name, value in values.items()]
    return parse.deployment({"id": "1", "name": "web", "inputs": listed, "options": {"progress": option}})


@pytest.mark.parametrize("where", ["option", "input"])
def test_a_name_is_a_resource_of_the_deployments_own_stack(where: str) -> None:
    named = deployment("steps") if where == "option" else deployment(progress_handle="steps")

    found = progress.handle(named, Own(user=USER))

    assert ("HEAT_SIGNAL", STACK, "steps", USER) == (
        found.transport,
        found.stack_id,
        found.resource_name,
        found.credentials,
    )


def test_a_server_with_keys_signs_a_url_beside_the_deployments() -> None:
    url = CFN_PATH.format("signal", "deployment")
    own: JsonMap = {"deploy_signal_transport": "CFN_SIGNAL", "deploy_signal_id": url}

    found = progress.handle(deployment("steps", given=own), Own(access_key="key", secret_key="secret"))

    assert found.url.startswith(CFN_PATH.format("signal", "steps").partition("?")[0] + "?")
    assert "Timestamp" not in found.url


@pytest.mark.parametrize(("kind", "verb"), [("signal", "POST"), ("waitcondition", "PUT")])
def test_a_url_keeps_its_resource_for_when_it_has_ended(kind: str, verb: str) -> None:
    found = progress.handle(deployment(CFN_PATH.format(kind, "steps")), Own())

    assert ("CFN_SIGNAL", verb, STACK, "steps") == (
        found.transport,
        found.verb,
        found.stack_id.rpartition(":")[2],
        found.resource_name,
    )


def test_the_signal_attribute_brings_a_user_of_its_own() -> None:
    url = f"https://heat.example/v1/project/stacks/{STACK}/resources/steps/signal"
    told = (
        f'{{"alarm_url": "{url}", "user_id": "u", "password": "p", "auth_url": "https://k/v3", '
        '"project_id": "project", "region_name": "RegionOne", "username": "x", "domain_id": "heat"}'
    )

    found = progress.handle(deployment(told), Own())

    assert Credentials("https://k/v3", "u", "p", "project", "RegionOne") == found.credentials
    assert (STACK, "steps") == (found.stack_id, found.resource_name)


@pytest.mark.parametrize(
    "option",
    [
        "deployment",
        CFN_PATH.format("signal", "deployment"),
        {"alarm_url": CFN_PATH.format("waitcondition", "deployment")},
        f"https://heat.example/v1/project/stacks/{STACK}/resources/deployment/signal",
        "https://swift.example/v1/AUTH_p/0c1d/deployment-abc?temp_url_sig=1&temp_url_expires=2",
    ],
)
@pytest.mark.parametrize("server", [Own(user=USER), Own(access_key="key", secret_key="secret")], ids=["user", "keys"])
def test_the_deployment_itself_is_never_shown_a_step(option: Json, server: Own) -> None:
    by_url = "temp_url" if "temp_url" in str(option) else "cfn"
    url = str(option) if by_url == "temp_url" else CFN_PATH.format("signal", "deployment")
    transport = {"temp_url": "TEMP_URL_SIGNAL", "cfn": "CFN_SIGNAL"}[by_url]
    own: JsonMap = {"deploy_signal_transport": transport, "deploy_signal_id": url}

    with pytest.raises(MetadataError, match="is the deployment itself"):
        progress.handle(deployment(option, given=own), server)


@pytest.mark.parametrize("option", [7, ["steps"], {}, {"queue_id": "q"}, "{broken", "steps"])
def test_what_is_no_handle_is_an_error_that_says_what_to_do(option: Json) -> None:
    if not option:
        assert not progress.wanted(deployment(option))
        return

    with pytest.raises(MetadataError):
        progress.handle(deployment(option), Own())


@given(st.lists(st.sampled_from(["", "one", "two", "three"]), max_size=50), st.integers(1, 10))
def test_there_are_never_more_events_than_the_bound_and_the_end_is_always_one(lines: list[str], times: int) -> None:
    events = ["started"]

    for line in lines * times:
        if text := progress.next_text(line, "", events[-1], len(events)):
            events.append(text)
    while "ended" not in events:
        events.append(progress.next_text(lines[-1] if lines else "", "ended", events[-1], len(events)))

    assert len(events) <= progress.EVENTS
    assert all(before != after for before, after in pairwise(events))


@given(st.text(), st.text())
def test_a_reason_is_one_short_line(name: str, text: str) -> None:
    said = progress.fit(name, text)

    assert len(said) <= progress.TEXT_LIMIT
    assert said.isprintable()
