"""What Heat sends becomes values, whatever it is."""

import json
import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from agent import jsontext, model, parse
from agent.errors import MetadataError
from agent.model import Input, JsonMap, Outcome
from tests.unit.values import JSON, JSON_MAPS, heat_input, raw, recorded

DOCUMENTS = recorded("documents")


# -------------------------------------------------------------------------------------- what Heat recorded


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_recorded_document_parses_without_a_fault(name: str) -> None:
    parsed = parse.deployments(parse.document("heat", DOCUMENTS[name]))

    assert () == parsed.problems
    assert [""] * len(parsed.deployments) == [d.fault for d in parsed.deployments]
    assert [d["id"] for d in DOCUMENTS[name]["deployments"]] == [d.id for d in parsed.deployments]
    assert all(d.key == d.id and d.name and d.group and d.action for d in parsed.deployments)
    assert all(d.source == "heat" for d in parsed.deployments)


def first(name: str) -> model.Deployment:
    return parse.deployments(parse.document("heat", DOCUMENTS[name])).deployments[0]


def test_a_cfn_signal_is_a_url_and_a_verb() -> None:
    endpoint = first("poll_server_cfn+cfn_signal").endpoint

    assert ("CFN_SIGNAL", "POST", None, "") == (
        endpoint.transport,
        endpoint.verb,
        endpoint.credentials,
        endpoint.queue_id,
    )
    assert endpoint.url.startswith("http://127.0.0.1:35001/v1/signal/arn%3Aopenstack%3Aheat")
    assert endpoint.url.endswith("Signature=xrWt5l0sssFysZSU5Ra0mRQ2JJVW9xImVf76zMOOmFA%3D")


def test_a_temp_url_signal_is_a_url_to_put_to() -> None:
    endpoint = first("poll_temp_url+temp_url_signal").endpoint

    assert ("TEMP_URL_SIGNAL", "PUT", None) == (endpoint.transport, endpoint.verb, endpoint.credentials)
    assert "temp_url_sig=" in endpoint.url


def test_a_heat_signal_is_a_user_a_stack_and_a_resource() -> None:
    endpoint = first("poll_server_heat+heat_signal").endpoint

    assert ("HEAT_SIGNAL", "", "deployment") == (endpoint.transport, endpoint.url, endpoint.resource_name)
    assert re.fullmatch(r"[\w-]+/[0-9a-f-]{36}", endpoint.stack_id)
    assert endpoint.credentials is not None
    assert ("http://127.0.0.1:35000/v3", "RegionOne") == (
        endpoint.credentials.auth_url,
        endpoint.credentials.region_name,
    )
    assert all((endpoint.credentials.user_id, endpoint.credentials.password, endpoint.credentials.project_id))


def test_a_zaqar_signal_is_a_user_and_a_queue() -> None:
    endpoint = first("zaqar_message+zaqar_signal").endpoint

    assert "ZAQAR_SIGNAL" == endpoint.transport
    assert endpoint.queue_id
    assert endpoint.credentials is not None


def test_no_signal_is_an_endpoint_that_nobody_waits_at() -> None:
    endpoint = first("poll_server_heat+no_signal").endpoint

    assert "NO_SIGNAL" == endpoint.transport
    assert not endpoint.wanted


def test_each_input_type_keeps_its_value() -> None:
    inputs = first("poll_server_cfn+cfn_signal").inputs

    assert Input("who", "String", "world") == inputs["who"]
    assert Input("table", "Json", {"a": [1, 2], "b": "é"}) == inputs["table"]
    assert Input("list", "CommaDelimitedList", ["x", "y"]) == inputs["list"]


def test_the_declared_error_output_is_known() -> None:
    deployment = first("poll_server_cfn+cfn_signal")

    assert [("greeting", False), ("problem", True)] == [(o.name, o.error_output) for o in deployment.outputs]
    assert ("problem",) == model.failing_outputs(deployment, {"problem": "no disk", "greeting": "hello"})
    assert () == model.failing_outputs(deployment, {"problem": "", "greeting": "hello"})
    assert () == model.failing_outputs(deployment, {"problem": None})


@pytest.mark.parametrize(
    ("step", "action", "does"), [("after create", "CREATE", "created"), ("after update", "UPDATE", "updated")]
)
def test_a_component_runs_the_config_of_the_present_action(step: str, action: str, does: str) -> None:
    deployment = first(f"scenario-component: {step}")

    assert (action, "script") == (deployment.action, deployment.group)
    assert isinstance(deployment.config, str)
    assert does in deployment.config
    assert ("script", deployment.config) == (deployment.raw["group"], deployment.raw["config"])


# ------------------------------------------------------------------------------------------ odd deployments


def test_a_component_without_the_action_is_a_fault_that_says_what_to_do() -> None:
    config = {"configs": [{"actions": ["CREATE"], "tool": "script", "config": "x"}]}

    deployment = parse.deployment(raw("d1", heat_input("deploy_action", "DELETE"), group="component", config=config))

    assert "no config for the action DELETE" in deployment.fault
    assert "leave the action out" in deployment.fault


def test_the_first_entry_of_a_component_that_names_the_action_counts() -> None:
    entries = [
        {"actions": ["UPDATE"], "tool": "ansible", "config": "1"},
        {"actions": ["CREATE", "UPDATE"], "tool": "script", "config": "2"},
        {"actions": ["CREATE"], "tool": "puppet", "config": "3"},
    ]

    deployment = parse.deployment(
        raw("d1", heat_input("deploy_action", "CREATE"), group="component", config={"configs": entries})
    )

    assert ("script", "2", "") == (deployment.group, deployment.config, deployment.fault)


@pytest.mark.parametrize("entry", [{"actions": ["CREATE"]}, {"actions": ["CREATE"], "tool": 7}])
def test_a_component_entry_without_a_tool_is_a_fault(entry: JsonMap) -> None:
    deployment = parse.deployment(
        raw("d1", heat_input("deploy_action", "CREATE"), group="component", config={"configs": [entry]})
    )

    assert "names no tool" in deployment.fault


@pytest.mark.parametrize("config", [None, "text", [], {}, {"configs": None}, {"configs": ["x", {"actions": "CREATE"}]}])
def test_a_component_of_another_shape_is_a_fault(config: model.Json) -> None:
    deployment = parse.deployment(raw("d1", heat_input("deploy_action", "CREATE"), group="component", config=config))

    assert "its component has no config" in deployment.fault


@pytest.mark.parametrize(
    "identity", ["../../etc/passwd", "a/b", ".", "..", ".hidden", "a b", "x" * 129, "é", "a\0b", "-rf"]
)
def test_an_id_that_no_heat_makes_is_a_fault_and_never_a_file_name(identity: str) -> None:
    deployment = parse.deployment(raw(identity))

    assert identity == deployment.id
    assert "is no id that Heat makes" in deployment.fault
    assert re.fullmatch(r"unnamed-[0-9a-f]{32}", deployment.key)


@pytest.mark.parametrize("identity", [None, 7, True, [], {}, ""])
def test_a_deployment_without_an_id_is_a_fault(identity: model.Json) -> None:
    deployment = parse.deployment(raw(identity))

    assert "id" in deployment.fault
    assert "" == deployment.id
    assert deployment.key.startswith("unnamed-")


def test_different_deployments_without_an_id_have_different_keys() -> None:
    keys = {parse.deployment(raw(None, config=text)).key for text in ("a", "b", "c")}

    assert 3 == len(keys)


def test_a_key_is_the_same_in_whatever_order_the_fields_came() -> None:
    element = raw(None)

    backwards = dict(reversed(element.items()))

    assert parse.deployment(element).key == parse.deployment(backwards).key


def test_a_bare_deployment_is_ungrouped_and_runs_with_nothing() -> None:
    deployment = parse.deployment({"id": "d1"})

    assert ("", "Heat::Ungrouped", "d1") == (deployment.fault, deployment.group, deployment.name)
    assert ({}, (), {}, None) == (
        deployment.inputs,
        deployment.outputs,
        deployment.options,
        deployment.manner.timeout_s,
    )
    assert not deployment.endpoint.wanted


def test_null_lists_are_empty_and_unknown_keys_are_kept_for_programs() -> None:
    element = raw("d1", inputs=None, outputs=None, options=None, novel={"a": 1})

    deployment = parse.deployment(element)

    assert ("", {}, ()) == (deployment.fault, deployment.inputs, deployment.outputs)
    assert {"a": 1} == deployment.raw["novel"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"inputs": {}}, "inputs is an object, a list is wanted"),
        ({"inputs": ["x"]}, "inputs holds something that is no object"),
        ({"inputs": [{"value": 1}]}, "inputs[0] has no name"),
        ({"inputs": [{"name": ""}]}, "inputs[0] has no name"),
        ({"outputs": "x"}, "outputs is text, a list is wanted"),
        ({"outputs": [{"name": 3}]}, "outputs[0] has no name"),
        ({"outputs": [{"name": "../x"}]}, "output '../x' cannot be a file name"),
        ({"outputs": [{"name": "\ud800"}]}, "output '\\ud800' cannot be a file name"),
        ({"options": []}, "options is a list, an object is wanted"),
        ({"options": {"timeout": "soon"}}, "option timeout"),
        ({"options": {"timeout": -1}}, "option timeout"),
        ({"options": {"timeout": 0}}, "option timeout"),
        ({"options": {"timeout": 1e999}}, "option timeout"),
        ({"options": {"timeout": []}}, "option timeout"),
        ({"group": 7}, "its group is a number"),
    ],
)
def test_a_wrong_shape_is_named_in_the_fault(fields: JsonMap, said: str) -> None:
    deployment = parse.deployment(raw("d1", **fields))

    assert said in deployment.fault


@pytest.mark.parametrize(("given_timeout", "seconds"), [(3, 3.0), ("2.5", 2.5), (None, None), ("", None)])
def test_the_option_timeout_is_seconds_as_number_or_text(given_timeout: model.Json, seconds: float | None) -> None:
    deployment = parse.deployment(raw("d1", options={"timeout": given_timeout}))

    assert ("", seconds) == (deployment.fault, deployment.manner.timeout_s)


def test_an_input_without_a_value_has_its_default_and_else_nothing() -> None:
    deployment = parse.deployment(
        raw("d1", {"name": "a", "default": 3}, {"name": "b"}, {"name": "c", "default": 1, "value": None})
    )

    assert {"a": 3, "b": "", "c": None} == {name: known.value for name, known in deployment.inputs.items()}


def test_the_last_of_two_inputs_with_one_name_counts() -> None:
    deployment = parse.deployment(raw("d1", heat_input("a", "1"), heat_input("a", "2")))

    assert "2" == deployment.inputs["a"].value


@pytest.mark.parametrize(
    ("names", "transport"),
    [
        (("deploy_signal_id",), "CFN_SIGNAL"),
        (("deploy_auth_url",), "HEAT_SIGNAL"),
        (("deploy_auth_url", "deploy_queue_id"), "ZAQAR_SIGNAL"),
        ((), ""),
    ],
)
def test_the_transport_of_an_old_heat_follows_from_what_it_gave(names: tuple[str, ...], transport: str) -> None:
    deployment = parse.deployment(raw("d1", *(heat_input(name, "http://x/") for name in names)))

    assert transport == deployment.endpoint.transport


@pytest.mark.parametrize("verb", ["PUT", "POST", "put", "DELETE", None])
def test_only_put_is_put(verb: model.Json) -> None:
    deployment = parse.deployment(
        raw("d1", heat_input("deploy_signal_id", "http://x/"), heat_input("deploy_signal_verb", verb))
    )

    assert ("PUT" if verb == "PUT" else "POST") == deployment.endpoint.verb


def test_no_secret_is_in_a_representation() -> None:
    deployment = first("poll_server_heat+heat_signal")
    url = first("poll_server_cfn+cfn_signal")
    password = deployment.inputs["deploy_password"].value

    shown = repr(deployment) + repr(url)

    assert str(password) not in shown
    assert "Signature=" not in shown
    assert "world" not in shown


def test_programs_get_text_where_text_was_declared_as_the_old_dispatcher_gave_it() -> None:
    element = raw(
        "d1",
        heat_input("flag", True),
        heat_input("map", {"a": 1}),
        heat_input("number", 3, "Number"),
        {"name": "bare", "type": "String"},
    )

    seen = parse.for_executable(parse.deployment(element))

    assert isinstance(seen["inputs"], list)
    assert ["True", "{'a': 1}", 3] == [i["value"] for i in seen["inputs"] if isinstance(i, dict) and "value" in i]


# ----------------------------------------------------------------------------------------------- documents


def test_what_is_no_object_in_a_list_is_a_problem_and_the_rest_is_taken() -> None:
    parsed = parse.deployments(parse.document("cfn", {"deployments": [raw("d1"), None, 3, raw("d2")]}))

    assert ["d1", "d2"] == [d.id for d in parsed.deployments]
    assert ("deployments[1] is null, an object is wanted", "deployments[2] is a number, an object is wanted") == (
        parsed.problems
    )


def test_a_list_that_is_no_list_is_a_problem() -> None:
    parsed = parse.deployments(parse.document("cfn", {"deployments": {"id": "d1"}}))

    assert ((), ("'deployments' is an object, a list is wanted",)) == (parsed.deployments, parsed.problems)


def test_all_configured_root_keys_are_read_in_their_order() -> None:
    document = parse.document("cfn", {"deployments": [raw("d1")], "more": [raw("d2")]})

    parsed = parse.deployments(document, ("more", "absent", "deployments"))

    assert ["d2", "d1"] == [d.id for d in parsed.deployments]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not JSON"),
        (b"<html>", "not JSON"),
        (b'{"a": 1', "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b'{"a": NaN}', "NaN is no JSON number"),
        (b'{"a": -Infinity}', "-Infinity is no JSON number"),
        (b'{"a": -1e999}', "-1e999 is too large a number"),
        (b"1" * 5000, "not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "nested too deeply"),
    ],
)
def test_what_is_no_json_says_so_and_where_it_came_from(data: bytes, said: str) -> None:
    with pytest.raises(MetadataError, match="reading the answer of heat") as caught:
        jsontext.decode(data, "the answer of heat")

    assert said in str(caught.value)


def test_nesting_up_to_the_limit_is_taken_and_one_more_is_not() -> None:
    deep = b"[" * jsontext.MAX_DEPTH + b"]" * jsontext.MAX_DEPTH

    assert jsontext.decode(deep, "it")
    with pytest.raises(MetadataError):
        jsontext.decode(b"[" + deep + b"]", "it")


@pytest.mark.parametrize("data", [b"[]", b"null", b"3", b'"x"', b"true"])
def test_a_document_must_be_an_object(data: bytes) -> None:
    with pytest.raises(MetadataError, match="a JSON object is wanted"):
        jsontext.decode_map(data, "it")


# ------------------------------------------------------------------------------------------------ the laws

ODD_DEPLOYMENTS = st.fixed_dictionaries(
    {},
    optional={
        "id": JSON | st.just("d1"),
        "name": JSON,
        "group": JSON | st.just("component"),
        "config": JSON | st.just({"configs": [{"actions": ["CREATE"], "tool": "script"}]}),
        "inputs": JSON | st.lists(JSON | st.fixed_dictionaries({"name": st.text(), "value": JSON}), max_size=4),
        "outputs": JSON | st.lists(JSON | st.fixed_dictionaries({"name": JSON, "error_output": JSON}), max_size=4),
        "options": JSON | st.fixed_dictionaries({"timeout": JSON}),
        "creation_time": JSON,
        "surplus": JSON,
    },
)


@given(ODD_DEPLOYMENTS | JSON_MAPS)
def test_parsing_takes_any_object(element: JsonMap) -> None:
    before = json.dumps(element)

    deployment = parse.deployment(element)

    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", deployment.key)
    assert deployment.fault or deployment.id == deployment.key
    assert deployment == parse.deployment(element)
    assert before == json.dumps(element)
    json.dumps(parse.for_executable(deployment))


@given(JSON_MAPS | st.fixed_dictionaries({"deployments": st.lists(ODD_DEPLOYMENTS | JSON, max_size=3) | JSON}))
def test_every_element_of_a_list_is_a_deployment_or_a_problem(content: JsonMap) -> None:
    parsed = parse.deployments(parse.document("cfn", content))

    listed = content.get("deployments")
    if isinstance(listed, list):
        assert len(listed) == len(parsed.deployments) + len(parsed.problems)
    else:
        assert (listed is not None) == bool(parsed.problems)


OWN = {"deploy_stdout", "deploy_stderr", "deploy_status_code"}


@given(st.integers(), st.text(), st.text(), st.dictionaries(st.text(), JSON, max_size=4))
def test_an_outcome_survives_its_body(status: int, stdout: str, stderr: str, outputs: JsonMap) -> None:
    assume(not OWN & set(outputs))
    outcome = Outcome(status, stdout, stderr, outputs)

    assert outcome == parse.outcome_from_body(outcome.body())


@given(st.text(), JSON)
def test_an_output_never_takes_the_place_of_a_status(text: str, value: model.Json) -> None:
    body = Outcome(3, text, text, dict.fromkeys(OWN, value)).body()

    assert {"deploy_stdout": text, "deploy_stderr": text, "deploy_status_code": 3} == body


@given(JSON_MAPS)
def test_any_object_is_an_outcome(body: JsonMap) -> None:
    assert isinstance(parse.outcome_from_body(body).status, int)


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (0, 0),
        ("0", 0),
        (None, 0),
        ("", 0),
        (3, 3),
        ("3", 3),
        (True, 1),
        ("x", 1),
        ([], 1),
        ({}, 1),
        (1e400, 1),
        (0.5, 1),
        (2.0, 2),
    ],
)
def test_a_status_is_read_as_heat_reads_it_and_nonsense_is_a_failure(value: model.Json, status: int) -> None:
    assert status == parse.status_from(value)


@given(JSON, JSON)
def test_a_digest_tells_contents_apart(one: model.Json, other: model.Json) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert same == (jsontext.digest(one) == jsontext.digest(other))
