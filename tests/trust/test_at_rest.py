"""What a guest's disk keeps of secrets: all that is needed before an outcome was taken, nothing afterwards."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import keeping, masking, model, parse
from agent.cache import Cache, own
from agent.keeping import Need
from agent.plan import Hold, plan
from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.trust.resting import ALL, HOOK, SECRETS, SIGNATURE, TYPED, deployment, found, mark
from tests.waiting import LONGEST_S, until

DOCUMENT = "var/lib/os-deploy-agent/documents/request.json"


def test_nothing_secret_is_left_once_the_outcome_was_taken(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(deployment(endpoint, "web"))

    ended = guest.once()

    assert (0, ["ran"], 1) == (ended.status, guest.seen(), len(endpoint.of("web")))
    assert {} == found(guest)


def test_what_is_no_secret_stays_for_the_record(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(deployment(endpoint, "web"))

    guest.once()

    inputs = {one["name"]: one for one in mark(guest)["inputs"]}
    assert {"name": "port", "type": "Number", "value": 80, "default": 81} == inputs["port"]
    assert {"name": "db_password", "type": "String", "not_kept": True} == inputs["db_password"]
    assert ("CFN_SIGNAL", "POST") == tuple(inputs[f"deploy_signal_{n}"]["value"] for n in ("transport", "verb"))
    assert ("web", HOOK) == (mark(guest)["name"], mark(guest)["config"])


def test_until_then_the_disk_keeps_only_what_the_signal_needs(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(deployment(endpoint, "web"))
    endpoint.spoil = answering(503)

    assert 2 == guest.once(once_patience="0").status

    assert {DOCUMENT} == found(guest).keys()
    assert {} == found(guest, [SECRETS["db_password"], TYPED])


def test_an_outcome_is_told_after_a_restart_while_the_source_is_down_and_then_its_secrets_go(
    guest: Guest, endpoint: Endpoint
) -> None:
    config = "#!/bin/sh\necho ran >> $WITNESS\nwhile [ ! -e $WITNESS.go ]; do sleep 0.05; done\n"
    endpoint.serve(deployment(endpoint, "web", config=config))
    agent = guest.start("run")
    until(guest.seen, "the hook to begin")
    os.kill(agent.pid, signal.SIGKILL)
    agent.wait(LONGEST_S)
    endpoint.metadata_status = 500
    again = guest.start("run")
    until(lambda: guest.log().events("source unavailable"), "the next agent to be up")
    assert DOCUMENT in found(guest)

    Path(f"{guest.witness}.go").touch()

    until(lambda: guest.states() == {"id-web": "signalled"}, "its outcome to be taken")
    until(lambda: not found(guest), "its secrets to go")
    again.send_signal(signal.SIGTERM)
    assert 0 == again.wait(LONGEST_S)


def test_one_that_is_done_is_forgotten_while_the_next_one_waits(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(deployment(endpoint, "web"), endpoint.script("next", HOOK))
    endpoint.spoil = lambda request, name: name == "next" and answering(503)(request, name)

    guest.once(once_patience="0")

    assert {} == found(guest)
    assert endpoint.signal_url("next") in (guest.root / DOCUMENT).read_text()


@pytest.mark.parametrize("state", ["refused", "superseded"])
def test_whatever_settles_an_outcome_ends_its_secrets(guest: Guest, endpoint: Endpoint, state: str) -> None:
    endpoint.serve(deployment(endpoint, "web"))
    endpoint.spoil = answering(404 if state == "refused" else 503)
    guest.once(once_patience="0")
    if state == "superseded":
        endpoint.serve(endpoint.script("other", HOOK))
        endpoint.spoil = lambda _request, _name: False
        guest.once()

    assert state == guest.states()["id-web"]
    assert {} == found(guest)


def test_a_change_of_the_metadata_does_not_bring_back_what_is_done(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(deployment(endpoint, "web"))
    guest.once()
    endpoint.serve(deployment(endpoint, "web"), more=1)

    ended = guest.once()

    assert (0, 1) == (ended.status, len(endpoint.of("web")))
    assert {} == found(guest)


def test_marks_that_earlier_versions_or_the_old_tools_filled_are_emptied_at_the_start(
    guest: Guest, endpoint: Endpoint
) -> None:
    endpoint.serve(deployment(endpoint, "web"))
    guest.once()
    whole = json.dumps(deployment(endpoint, "web"))
    record = guest.state / "journal/id-web.json"
    record.write_text(json.dumps({name: v for name, v in guest.journal()["id-web"].items() if name != "bare"}))
    (guest.deployed / "id-web.json").write_text(whole)
    for name, age_s in (("by-the-old-tools", 2 * 86400), ("they-are-at-it", 60)):
        (guest.deployed / f"{name}.json").write_text(whole)
        os.utime(guest.deployed / f"{name}.json", (time.time() - age_s,) * 2)
    (guest.deployed / "touched.json").touch()

    guest.once()

    assert ["var/lib/heat-config/deployed/they-are-at-it.json"] == [*found(guest)]
    assert b"" == (guest.deployed / "touched.json").read_bytes()
    assert 1 == len(endpoint.of("web"))


def test_outputs_that_are_secret_by_name_leave_the_outcome_when_it_was_taken(guest: Guest, endpoint: Endpoint) -> None:
    config = "#!/bin/sh\nprintf %s secret-output > $heat_outputs_path.admin_password\n"
    config += "printf 80 > $heat_outputs_path.port\n"
    outputs = [{"name": "admin_password"}, {"name": "port"}]
    endpoint.serve(endpoint.script("web", config, outputs=outputs))

    guest.once()

    [signal] = endpoint.of("web")
    stored = json.loads((guest.deployed / "id-web.notify.json").read_bytes())
    assert "secret-output" == signal.body["admin_password"]
    assert ("80", "***") == (stored["port"], stored["admin_password"])
    assert ["admin_password"] == guest.journal()["id-web"]["not_kept"]


def test_a_rerun_has_its_secrets_from_the_source_again(guest: Guest, endpoint: Endpoint) -> None:
    config = "#!/bin/sh\necho $db_password >> $WITNESS\n"
    endpoint.serve(deployment(endpoint, "web", config=config))
    guest.once()
    (guest.deployed / "id-web.json").unlink()

    ended = guest.once()

    assert (0, [SECRETS["db_password"]] * 2, 2) == (ended.status, guest.seen(), len(endpoint.of("web")))
    assert {} == found(guest, [SECRETS["db_password"]])


def test_a_rerun_waits_for_its_source_rather_than_run_without_them(guest: Guest, endpoint: Endpoint) -> None:
    config = "#!/bin/sh\necho $db_password >> $WITNESS\n"
    endpoint.serve(deployment(endpoint, "web", config=config))
    guest.once()
    (guest.deployed / "id-web.json").unlink()
    endpoint.metadata_status = 500

    ended = guest.once(once_patience="0")

    assert (2, [SECRETS["db_password"]]) == (ended.status, guest.seen())
    [event] = ended.events("waits for its source")
    assert "db_password" in event["unknown"]
    endpoint.metadata_status = 200
    assert 0 == guest.once().status
    assert [SECRETS["db_password"]] * 2 == guest.seen()


def bodied(**inputs: Any) -> dict[str, Any]:
    listed = [{"name": name, **more} for name, more in inputs.items()]
    return {"deployments": [{"id": "d1", "name": "web", "inputs": listed}]}


def test_how_long_a_secret_is_kept_follows_from_how_far_its_deployment_got() -> None:
    content = bodied(deploy_password={"value": "p"}, db_password={"value": "q", "default": "r"}, port={"value": 1})

    def names(progress: str) -> list[str]:
        kept = keeping.form(content, lambda _key: keeping.need(progress))
        [element] = kept["deployments"]  # type: ignore[misc, union-attr]
        return [one["name"] for one in element["inputs"] if "value" in one]  # type: ignore[index, call-overload, union-attr]

    everything = ["deploy_password", "db_password", "port"]
    for progress in (model.UNKNOWN, model.RECEIVED, model.RUNNING, model.INTERRUPTED, model.REBOOTING):
        assert everything == names(progress)
    assert ["deploy_password", "port"] == names(model.FINISHED)
    for progress in model.SETTLED:
        assert ["port"] == names(progress)


def test_an_input_that_is_not_kept_is_known_to_be_missing_and_the_same_is_bare() -> None:
    content = bodied(deploy_password={"value": "p"}, port={"value": 1})
    kept = keeping.form(content, lambda _key: Need.NOTHING)

    [known] = parse.deployments(parse.document("cfn", kept)).deployments

    assert ("deploy_password",) == known.missing == known.endpoint.lost
    assert kept == keeping.bare(content) == keeping.bare(kept)
    assert (True, False) == (keeping.whole(content), keeping.whole(kept))


def test_one_without_an_id_is_kept_whole_and_then_not_at_all() -> None:
    content = bodied(deploy_password={"value": "p"})
    del content["deployments"][0]["id"]

    assert content == keeping.form(content, lambda _key: Need.SIGNAL)
    assert {"deployments": []} == keeping.form(content, lambda _key: Need.NOTHING)


def test_what_its_own_source_does_not_say_again_is_a_fault_and_no_hook_runs_without_it() -> None:
    kept = keeping.form(bodied(db_password={"value": "p"}), lambda _key: Need.NOTHING)
    [known] = parse.deployments(parse.document("zaqar", kept)).deployments

    [waits] = plan([known], {}, has_hook=lambda _group: True, now=0.0, fresh=())
    [runs] = plan([known], {}, has_hook=lambda _group: True, now=0.0, fresh={"zaqar"})

    assert Hold(known, float("inf"), for_source=True) == waits
    assert "values of db_password" in runs.deployment.fault


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([*SECRETS, "port"]), st.booleans()), max_size=9))
def test_what_is_kept_never_grows_and_the_bare_form_is_the_same_from_each(
    elements: list[tuple[str, str, bool]],
) -> None:
    listed = [
        {"id": key, "inputs": [{"name": name, "value": "v"} if has else {"name": name, "not_kept": True}]}
        for key, name, has in elements
    ]
    content: Any = {"deployments": listed, "other": [1, {"inputs": None}], "more": {"deploy_password": "p"}}
    forms = [keeping.form(content, lambda _key, need=need: need) for need in Need]  # type: ignore[misc]

    assert content == forms[Need.HOOK]
    assert [keeping.bare(content)] * 3 == [keeping.bare(form) for form in forms]
    for form, need in zip(forms, Need, strict=True):
        assert all(held <= need for held in keeping.held(form).values())
        assert form == keeping.form(form, lambda _key, need=need: need)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("one", "serves"),
    [
        ({"name": "db_password", "value": "p"}, Need.HOOK),
        ({"name": "license", "type": "Secret", "value": "p"}, Need.HOOK),
        ({"name": "table", "type": "Json", "value": {"deep": [{"api_token": "p"}]}}, Need.HOOK),
        ({"name": "repository", "value": "https://me:p@git.example.org/x"}, Need.HOOK),
        ({"name": "deploy_key", "default": "-----BEGIN PRIVATE KEY-----\np"}, Need.HOOK),
        ({"name": "deploy_queue_id", "value": "q"}, Need.SIGNAL),
        ({"name": "deploy_stack_id", "value": "web/4a8c9b1e"}, Need.NOTHING),
        ({"name": "port", "value": 80}, Need.NOTHING),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else "",
)
def test_a_secret_is_what_the_mask_would_hide_any_of(one: dict[str, Any], serves: Need) -> None:
    content: Any = {"deployments": [{"id": "d1", "inputs": [one]}]}

    assert ({"d1": serves} if serves else {}) == keeping.held(content)


def test_what_a_hook_tells_of_its_inputs_is_signalled_as_it_is_and_masked_wherever_it_is_kept(
    guest: Guest, endpoint: Endpoint
) -> None:
    config = "#!/bin/sh\nprintf 'it is %s.' $db_password\nprintf %s/x $db_password > $heat_outputs_path.url\n"
    endpoint.serve(deployment(endpoint, "web", config=config, outputs=[{"name": "url"}]))

    guest.once()

    [signal] = endpoint.of("web")
    stored = json.loads((guest.deployed / "id-web.notify.json").read_bytes())
    said = ("it is secret-by-name.", "secret-by-name/x")
    assert said == (signal.body["deploy_stdout"], signal.body["url"])
    assert ("it is ***.", "***/x") == (stored["deploy_stdout"], stored["url"])
    assert b"it is ***." == (guest.root / "var/log/os-deploy-agent/id-web.log").read_bytes()
    assert ["var/run/heat-config/heat-config-script/id-web.url"] == [*found(guest)]  # the hook's own file


@given(
    st.lists(st.sampled_from(["secret-one", "secret-onetwo", "sec", "ret", "x", "\n", "secret-", "one"]), max_size=12)
)
def test_a_secret_that_comes_in_pieces_is_masked_as_in_one(pieces: list[str]) -> None:
    secrets, whole = ("secret-one", "secret-onetwo"), "".join(pieces)
    veil = masking.Veil(secrets)

    said = b"".join([*(veil(piece.encode()) for piece in pieces), veil.rest()]).decode()

    assert "secret-one" not in said
    assert whole.count("x") == said.count("x")


def test_the_first_document_in_the_cache_of_the_phases_holds_no_secret(root: Path, endpoint: Endpoint) -> None:
    kept = Cache(root / "cache")
    kept.open()

    kept.store([own("cfn", {"deployments": [deployment(endpoint, "web")], "plain": 1})])

    first, newest = (json.loads((root / f"cache/cfn.json{suffix}").read_bytes()) for suffix in (".orig", ""))
    assert not any(secret in json.dumps(first) for secret in ALL)
    assert (1, first["deployments"][0]["name"]) == (first["plain"], newest["deployments"][0]["name"])
    assert SIGNATURE in json.dumps(newest)
