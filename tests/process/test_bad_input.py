"""Nonsense for metadata: each is answered with a clear message, the other deployments go on, memory stays bounded."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.process.endpoint import Endpoint
from tests.process.guest import Ended, Guest
from tests.waiting import LONGEST_S, until

GOOD = "#!/bin/sh\necho good >> $WITNESS\n"
MEMORY = 200 << 20
"""More than a process of the agent may ever take, whatever it reads."""


def reason(ended: Ended) -> str:
    [event] = ended.events("source unavailable")
    return str(event["reason"])


def with_the_good_one(guest: Guest, endpoint: Endpoint, *bad: Any) -> Ended:
    """Run `bad` deployments in front of a good one, which must not notice."""
    endpoint.serve(*bad, endpoint.script("good", GOOD))
    ended = guest.once()
    assert (["good"], ["COMPLETE"]) == (guest.seen(), [sent.judged for sent in endpoint.of("good")]), ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


# ------------------------------------------------------------------------------------------------ documents


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"<html>sorry</html>", "not JSON"),
        (b"", "not JSON"),
        (b'{"deployments": [', "not JSON"),
        (b'{"deployments": NaN}', "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[1, 2]", "a JSON object is wanted, this is a list"),
        (b"null", "a JSON object is wanted, this is null"),
        (b"{}", "has become an empty object"),
        (b'"text"', "a JSON object is wanted, this is text"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
        (b'{"deployments": ' + b"[" * 1000 + b"]" * 1000 + b"}", "nested too deeply"),
        (b"9" * 5000, "not JSON"),
    ],
    ids=lambda value: value[:20].decode("ascii", "replace") if isinstance(value, bytes) else value,
)
def test_a_document_that_cannot_be_used_leaves_the_last_good_one_standing(
    guest: Guest, endpoint: Endpoint, document: bytes, says: str
) -> None:
    endpoint.serve(endpoint.script("good", GOOD))
    assert 0 == guest.once().status
    endpoint.document = document

    ended = guest.once()

    assert 2 == ended.status
    assert says in reason(ended)
    assert "/metadata.json" in reason(ended) or document == b"{}"
    assert "Traceback" not in ended.stderr
    assert ({"id-good": "signalled"}, ["good"]) == (guest.states(), guest.seen())
    assert ["request.json"] == [path.name for path in (guest.state / "documents").iterdir()]


def test_a_document_larger_than_the_limit_is_refused_by_its_size(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("good", GOOD), padding="x" * 5000)

    ended = guest.once(max_document="4096")

    assert (2, []) == (ended.status, guest.seen())
    assert "the limit is 4096; see max_document" in reason(ended)


def test_a_document_beyond_16_mib_is_refused_without_being_read(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.document = b'{"a": "' + b"x" * (64 << 20) + b'"}'

    ended = guest.once()

    assert 2 == ended.status
    assert f"the limit is {16 << 20}" in reason(ended)


def test_a_document_of_just_under_16_mib_is_taken(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("good", GOOD), padding="x" * ((16 << 20) - 2000))

    assert 0 == guest.once().status
    assert ["good"] == guest.seen()


@pytest.mark.parametrize(
    ("listed", "says"),
    [({"web": {}}, "'deployments' is an object"), ("web", "'deployments' is text"), (7, "'deployments' is a number")],
)
def test_deployments_that_are_no_list_are_named(guest: Guest, endpoint: Endpoint, listed: Any, says: str) -> None:
    endpoint.document = json.dumps({"deployments": listed}).encode()

    ended = guest.once()

    [event] = ended.events("not a deployment")
    assert f"{says}, a list is wanted" == event["reason"]
    assert "Traceback" not in ended.stderr


def test_elements_that_are_no_deployments_are_named_and_passed_over(guest: Guest, endpoint: Endpoint) -> None:
    ended = with_the_good_one(guest, endpoint, 1, None, "text", [], True)

    said = [event["reason"] for event in ended.events("not a deployment")]
    kinds = ["a number", "null", "text", "a list", "a boolean"]
    assert [f"deployments[{n}] is {kind}, an object is wanted" for n, kind in enumerate(kinds)] == said


# ---------------------------------------------------------------------------------------------- deployments


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"id": None}, "it has no id"),
        ({"id": ""}, "its id is text"),
        ({"id": 17}, "its id is a number"),
        ({"id": "../../etc/passwd"}, "is no id that Heat makes"),
        ({"id": "a/b"}, "is no id that Heat makes"),
        ({"id": "a\0b"}, "is no id that Heat makes"),
        ({"id": "x" * 5000}, "is no id that Heat makes"),
        ({"options": []}, "options is a list, an object is wanted"),
        ({"options": {"timeout": "soon"}}, "its option timeout is no positive number"),
        ({"outputs": [{"name": "../../x"}]}, "cannot be a file name"),
        ({"group": 5}, "its group is a number"),
        ({"config": ""}, "its config is empty"),
        ({"config": None}, "its config is empty"),
        ({"config": {"a": 1}}, "its config is empty or no text"),
        ({"config": "#!/bin/sh\necho \ud800\n"}, "no valid Unicode"),
        ({"config": "#!/no/such/interpreter\n"}, "is not on this guest"),
        ({"config": "\x7fELF nonsense"}, ""),
        ({"group": "no-such"}, "no hook for group 'no-such'"),
        ({"group": "../../bin/sh"}, "no hook for group"),
        ({"group": "///"}, "no hook for group"),
    ],
    ids=repr,
)
def test_a_deployment_that_cannot_run_fails_with_the_reason_and_the_others_go_on(
    guest: Guest, endpoint: Endpoint, changed: dict[str, Any], says: str
) -> None:
    files = set(guest.root.parent.iterdir())

    ended = with_the_good_one(guest, endpoint, {**endpoint.script("bad", GOOD), **changed})

    [sent] = endpoint.of("bad")
    assert "FAILED" == sent.judged
    assert says in sent.stderr
    assert sent.stderr.endswith("\n")
    assert 1 == ended.status
    assert files == set(guest.root.parent.iterdir())
    assert {"signalled"} == set(guest.states().values())


@pytest.mark.parametrize(
    "changed",
    [
        {"name": "../../../etc/passwd"},
        {"name": None},
        {"name": 5},
        {"surprise": {"a": [1, 2, 3]}},
        {"outputs": None},
        {"options": None},
        {"creation_time": 7},
        {"config": "echo bad >> $WITNESS"},
        {"config": "\ufeff\n# å ∆ \U0001f600\ntrue\n"},
    ],
    ids=repr,
)
def test_a_deployment_that_is_merely_odd_runs(
    guest: Guest, endpoint: Endpoint, changed: dict[str, Any], tmp_path: Path
) -> None:
    files = set(tmp_path.iterdir())
    endpoint.serve({**endpoint.script("odd", "#!/bin/sh\necho odd\n"), **changed})

    ended = guest.once()

    [sent] = endpoint.signals
    assert "COMPLETE" == sent.judged or "\ufeff" in str(changed), sent.stderr
    assert ended.status in (0, 1)
    assert files == set(tmp_path.iterdir())


@pytest.mark.parametrize("inputs", [None, {}, "text", [None], [[]], [{"value": 1}], [{"name": None}], [{"name": 3}]])
def test_a_deployment_without_usable_inputs_has_nowhere_to_signal_but_stops_nobody(
    guest: Guest, endpoint: Endpoint, inputs: Any
) -> None:
    with_the_good_one(guest, endpoint, {**endpoint.script("bad", "#!/bin/sh\ntrue\n"), "inputs": inputs})

    assert {"id-bad": "signalled", "id-good": "signalled"} == guest.states()


@pytest.mark.parametrize("value", [None, 5, 2.5, True, ["a"], {"a": {"b": None}}, "x" * 100_000, "a\nb\n"])
def test_an_input_of_any_kind_reaches_the_script(guest: Guest, endpoint: Endpoint, value: Any) -> None:
    deployment = endpoint.script("web", '#!/bin/sh\nprintf %s "$odd"\n')
    deployment["inputs"].append({"name": "odd", "value": value})
    endpoint.serve(deployment)

    assert 0 == guest.once().status
    text = "" if value is None else value if isinstance(value, str) else json.dumps(value)
    assert text == endpoint.signals[0].body["deploy_stdout"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("big", "x" * 200_000, "input 'big' alone has 200000 bytes"),
        ("nul", "a\0b", "holds a NUL"),
        ("a=b", "c", "holds a NUL or an ="),
        ("lone", "\udcff", "no valid Unicode"),
    ],
)
def test_an_input_that_no_environment_can_hold_is_named(
    guest: Guest, endpoint: Endpoint, name: str, value: str, says: str
) -> None:
    bad = endpoint.script("bad", GOOD)
    bad["inputs"].append({"name": name, "value": value})

    with_the_good_one(guest, endpoint, bad)

    [sent] = endpoint.of("bad")
    assert (65, True) == (sent.body["deploy_status_code"], says in sent.stderr), sent.stderr


def test_of_two_deployments_with_one_id_the_first_counts(guest: Guest, endpoint: Endpoint) -> None:
    twin = endpoint.script("twin", "#!/bin/sh\necho one >> $WITNESS\n")
    endpoint.serve(twin, {**twin, "config": "#!/bin/sh\necho two >> $WITNESS\n"})

    assert 0 == guest.once().status
    assert (["one"], 1) == (guest.seen(), len(endpoint.signals))


def test_two_deployments_without_id_are_two(guest: Guest, endpoint: Endpoint) -> None:
    bad = [{**endpoint.script(name, GOOD), "id": None} for name in ("first", "second")]

    with_the_good_one(guest, endpoint, *bad)

    assert [1, 1] == [len(endpoint.of(name)) for name in ("first", "second")]


def test_a_script_that_is_not_utf8_when_it_arrives_is_a_bad_document(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho CAFE\n"))
    endpoint.document = endpoint.document.replace(b"CAFE", b"caf\xe9")

    ended = guest.once()

    assert (2, []) == (ended.status, endpoint.signals)
    assert "not JSON" in reason(ended)


def test_output_that_is_not_utf8_is_signalled_with_replacements(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\nprintf 'caf\\351\\0end'\n"))

    assert 0 == guest.once().status
    assert "caf\ufffd\0end" == endpoint.signals[0].body["deploy_stdout"]


# --------------------------------------------------------------------------------------------------- amount


@pytest.mark.slow
def test_a_hook_that_prints_a_gigabyte_takes_little_memory_and_disk(guest: Guest, endpoint: Endpoint) -> None:
    gigabyte = "head -c 1073741824 /dev/zero | tr '\\0' x"
    script = f"#!/bin/sh\necho begin\n{gigabyte}\necho end\ngrep VmHWM /proc/$PPID/status >&2\n"
    endpoint.serve(endpoint.script("loud", script))

    assert 0 == guest.once().status

    [sent] = endpoint.signals
    stdout, stderr = sent.body["deploy_stdout"], sent.stderr
    assert (True, True) == (stdout.startswith("begin\nxxx"), stdout.endswith("xend\n"))
    assert "bytes cut here" in stdout
    assert len(json.dumps(sent.body)) < 1 << 20
    assert int(stderr.split()[1]) << 10 < MEMORY
    assert (guest.root / "var/log/os-deploy-agent/id-loud.log").stat().st_size < 17 << 20
    assert (guest.deployed / "id-loud.notify.json").stat().st_size < 2 << 20


def test_an_output_file_of_any_size_stays_below_what_heat_takes(guest: Guest, endpoint: Endpoint) -> None:
    script = "#!/bin/sh\nhead -c 50000000 /dev/zero | tr '\\0' o > $heat_outputs_path.big\n"
    endpoint.serve(endpoint.script("web", script, outputs=[{"name": "big", "type": "String"}]))

    assert 0 == guest.once().status
    assert len(json.dumps(endpoint.signals[0].body)) < 1 << 20
    assert endpoint.signals[0].body["big"].startswith("oooo")


def test_a_hundred_bad_deployments_are_all_answered(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(*({**endpoint.script(f"bad{n}", GOOD), "config": ""} for n in range(100)))

    assert 1 == guest.once(max_parallel="4").status
    assert {f"bad{n}" for n in range(100)} == {sent.name for sent in endpoint.signals}


def test_the_daemon_survives_every_bad_document_and_goes_on(guest: Guest, endpoint: Endpoint) -> None:
    bad = [b"", b"[]", b"{", b"[" * 100_000, b'{"deployments": 5}', b'{"deployments": [5]}', b'{"deployments": null}']
    daemon = guest.start("run", min_polling_interval="0.05", polling_interval="0.1")
    for document in bad:
        endpoint.document = document
        polls = endpoint.polls
        until(lambda polls=polls: endpoint.polls >= polls + 2, "two polls of a bad document")

    endpoint.serve(endpoint.script("good", GOOD))

    until(lambda: endpoint.signals, "the good one's outcome")
    assert (None, ["good"]) == (daemon.poll(), guest.seen())
    peak = int(Path(f"/proc/{daemon.pid}/status").read_text().partition("VmHWM:")[2].split()[0]) << 10
    assert peak < MEMORY
    os.kill(daemon.pid, signal.SIGTERM)
    assert 0 == daemon.wait(LONGEST_S)
