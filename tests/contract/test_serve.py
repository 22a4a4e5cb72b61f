"""The embedded endpoint: what a client sees of it, how it judges, and the agent against it by its command line."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from agent import serve
from tests.conftest import CHECKOUT
from tests.waiting import LONGEST_S

QUICKSTART = CHECKOUT / "examples/quickstart"
HELLO = "#!/bin/sh\nprintf hello > $heat_outputs_path.greeting\n"


def deployment(identity: str = "a1", config: str = HELLO, **keys: Any) -> dict[str, Any]:
    outputs = [{"name": "greeting", "type": "String"}, {"name": "problem", "type": "String", "error_output": True}]
    return {"id": identity, "name": f"n-{identity}", "group": "script", "config": config, "outputs": outputs, **keys}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "served"
    path.mkdir()
    write(path, deployment())
    return path


@pytest.fixture
def endpoint(directory: Path) -> Iterator[serve.Endpoint]:
    with serve.Endpoint(directory) as endpoint:
        yield endpoint


def write(directory: Path, *deployments: dict[str, Any]) -> None:
    (directory / serve.FILE).write_text(json.dumps({"deployments": deployments, "extra": 1}))


def ask(url: str, data: bytes | None = None, method: str = "", **headers: str) -> tuple[int, bytes, Any]:
    """Status, body and headers of one answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = Request(url, data, named, method=method or ("GET" if data is None else "POST"))
    try:
        with urlopen(request, timeout=LONGEST_S) as answer:
            return answer.status, answer.read(), answer.headers
    except HTTPError as exc:
        with exc:
            return exc.code, exc.read(), exc.headers


def send(endpoint: serve.Endpoint, body: object, identity: str = "a1", method: str = "POST") -> int:
    return ask(f"{endpoint.url}/signal/{identity}", json.dumps(body).encode(), method)[0]


def inputs(element: dict[str, Any]) -> dict[str, Any]:
    return {known["name"]: known["value"] for known in element["inputs"]}


@pytest.mark.parametrize("path", ["", "/", "/metadata.json", "/metadata.json?x=1"])
def test_the_metadata_carries_the_inputs_that_heat_adds(endpoint: serve.Endpoint, path: str) -> None:
    status, body, headers = ask(endpoint.url + path)

    content = json.loads(body)
    assert (200, "application/json", 1) == (status, headers["Content-Type"], content["extra"])
    assert {
        "deploy_server_id": serve.SERVER_ID,
        "deploy_action": "CREATE",
        "deploy_stack_id": f"serve/{serve.SERVER_ID}",
        "deploy_resource_name": "n-a1",
        "deploy_signal_transport": "CFN_SIGNAL",
        "deploy_signal_id": f"{endpoint.url}/signal/a1",
        "deploy_signal_verb": "POST",
    } == inputs(content["deployments"][0])


def test_a_deployment_that_signals_elsewhere_is_left_alone(directory: Path, endpoint: serve.Endpoint) -> None:
    quiet = deployment(inputs=[{"name": "deploy_signal_transport", "value": "NO_SIGNAL"}])
    write(directory, quiet)

    assert [quiet] == json.loads(ask(endpoint.url)[1])["deployments"]


def test_an_action_of_the_files_own_stands(directory: Path, endpoint: serve.Endpoint) -> None:
    write(directory, deployment(inputs=[{"name": "deploy_action", "value": "DELETE"}]))

    [served] = json.loads(ask(endpoint.url)[1])["deployments"]

    assert ["DELETE"] == [known["value"] for known in served["inputs"] if known["name"] == "deploy_action"]


def test_what_is_no_deployment_is_served_as_it_is(directory: Path, endpoint: serve.Endpoint) -> None:
    odd = [None, 7, {"name": "no id"}, {"id": 5}, {"id": "x", "inputs": "text"}]
    write(directory, *odd)  # type: ignore[arg-type]

    assert odd == json.loads(ask(endpoint.url)[1])["deployments"]


def test_the_file_is_read_anew_and_an_etag_saves_the_repeat(directory: Path, endpoint: serve.Endpoint) -> None:
    tag = ask(endpoint.url)[2]["ETag"]

    same = ask(endpoint.url, If_None_Match=f'"other", W/{tag}')
    write(directory, deployment("b2"))
    changed = ask(endpoint.url, If_None_Match=tag)

    assert (304, b"", tag) == (same[0], same[1], same[2]["ETag"])
    assert (200, "b2") == (changed[0], json.loads(changed[1])["deployments"][0]["id"])
    assert tag != changed[2]["ETag"]


def test_head_answers_as_get_without_a_body(endpoint: serve.Endpoint) -> None:
    status, body, headers = ask(endpoint.url, method="HEAD")

    assert (200, b"", ask(endpoint.url)[2]["ETag"]) == (status, body, headers["ETag"])


@pytest.mark.parametrize("text", ["", "no JSON", "[]", "[" * 100_000])
def test_a_bad_metadata_file_is_an_answer_and_no_crash(directory: Path, endpoint: serve.Endpoint, text: str) -> None:
    (directory / serve.FILE).write_text(text)

    status, body, _ = ask(endpoint.url)

    assert (500, True) == (status, str(directory / serve.FILE) in body.decode())
    assert 500 == send(endpoint, {})
    write(directory, deployment())
    assert 200 == ask(endpoint.url)[0]


def test_a_missing_metadata_file_is_named(directory: Path, endpoint: serve.Endpoint) -> None:
    (directory / serve.FILE).unlink()

    status, body, _ = ask(endpoint.url)

    assert (500, True) == (status, b"No such file" in body)


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        ({}, "COMPLETE", "Outputs received"),
        ({"deploy_status_code": 0, "greeting": "hi"}, "COMPLETE", "Outputs received"),
        ({"deploy_status_code": "0"}, "COMPLETE", "Outputs received"),
        ({"deploy_status_code": None}, "COMPLETE", "Outputs received"),
        (
            {"deploy_status_code": "3"},
            "FAILED",
            "deploy_status_code : Deployment exited with non-zero status code: 3",
        ),
        (
            {"deploy_status_code": "no number"},
            "FAILED",
            "deploy_status_code : Deployment exited with non-zero status code: no number",
        ),
        ({"deploy_status_code": 0, "problem": "no disk"}, "FAILED", "problem : no disk"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_a_signal_is_judged_as_heat_judges_it(
    endpoint: serve.Endpoint, body: dict[str, Any], status: str, reason: str, method: str
) -> None:
    answer = send(endpoint, body, method=method)

    assert 200 == answer
    assert [serve.Verdict("a1", "n-a1", status, reason, body)] == list(endpoint.signals)
    assert [{"id": "a1", "name": "n-a1", "status": status, "reason": reason, "signal": body}] == json.loads(
        ask(f"{endpoint.url}/signals")[1]
    )


def test_a_repeated_signal_is_taken_and_ignored(directory: Path, endpoint: serve.Endpoint) -> None:
    send(endpoint, {"deploy_status_code": 0})
    write(directory)

    assert 200 == send(endpoint, {"deploy_status_code": 3})
    assert ["COMPLETE"] == [verdict.status for verdict in endpoint.signals]


@pytest.mark.parametrize("data", [b"", b"text", b"[]", b'"text"', b"null", b"{", b'{"a": "\xff"}'])
def test_a_body_that_is_no_json_object_is_refused(endpoint: serve.Endpoint, data: bytes) -> None:
    assert 400 == ask(f"{endpoint.url}/signal/a1", data)[0]
    assert () == endpoint.signals


def test_a_body_above_the_limit_of_heat_is_refused(endpoint: serve.Endpoint) -> None:
    frame = len(b'{"a": ""}')
    fits = b'{"a": "%s"}' % (b"x" * (serve.BODY_LIMIT - frame))

    assert 400 == ask(f"{endpoint.url}/signal/a1", fits[:-2] + b'x"}')[0]
    assert 400 == ask(f"{endpoint.url}/signal/a1", b"x" * (5 * serve.BODY_LIMIT))[0]
    assert () == endpoint.signals
    assert 200 == ask(f"{endpoint.url}/signal/a1", fits)[0]


def test_an_id_that_is_not_listed_is_not_found(endpoint: serve.Endpoint) -> None:
    assert 404 == send(endpoint, {}, "b2")
    assert 404 == ask(f"{endpoint.url}/signal/", b"{}")[0]
    assert 404 == ask(f"{endpoint.url}/elsewhere", b"{}")[0]
    assert 404 == ask(f"{endpoint.url}/elsewhere")[0]


def test_an_id_with_odd_characters_finds_its_way_back(directory: Path, endpoint: serve.Endpoint) -> None:
    write(directory, deployment("../é %2F?#"))
    [served] = json.loads(ask(endpoint.url)[1])["deployments"]

    assert 200 == ask(inputs(served)["deploy_signal_id"], b"{}")[0]
    assert ["../é %2F?#"] == [verdict.id for verdict in endpoint.signals]


# --------------------------------------------------------------------------------------------- the commands


@contextmanager
def serving(
    agent_command: list[str], environment: dict[str, str], directory: Path, *more: str
) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`agent serve`, ended at the end if it has not ended by itself; the process and the URL it printed."""
    command = [*agent_command, "serve", str(directory), *more]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip().rpartition(" at ")[2]
    finally:
        process.kill()
        process.wait(LONGEST_S)
        process.stdout.close()


def once(
    agent_command: list[str], environment: dict[str, str], root: Path, url: str
) -> subprocess.CompletedProcess[str]:
    request = ["--collectors", "request", "--request-metadata-url", url]
    return subprocess.run(
        [*agent_command, "--once", *request, "--root", str(root)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )


def test_the_agent_deploys_from_it_and_the_command_tells(
    agent_command: list[str], environment: dict[str, str], root: Path, directory: Path
) -> None:
    write(directory, deployment(), deployment("b2", "echo broken >&2; exit 3"))

    with serving(agent_command, environment, directory, "--once-all") as (process, url):
        finished = once(agent_command, environment, root, url)
        assert process.stdout is not None
        said = process.stdout.read()  # not communicate(), which would lose what readline has buffered
        process.wait(LONGEST_S)

    assert (1, 1) == (finished.returncode, process.returncode), finished.stderr
    assert [
        "signal from n-a1 (a1): COMPLETE, Outputs received; outputs: greeting",
        (
            "signal from n-b2 (b2): FAILED, deploy_status_code : Deployment exited with non-zero status code: 3; "
            "outputs: none"
        ),
    ] == said.splitlines()[1:]


def test_the_agent_asks_on_and_does_nothing_twice(
    agent_command: list[str], environment: dict[str, str], root: Path, endpoint: serve.Endpoint
) -> None:
    first = once(agent_command, environment, root, endpoint.url)
    again = once(agent_command, environment, root, endpoint.url)

    assert (0, 0) == (first.returncode, again.returncode), first.stderr + again.stderr
    assert ["hello"] == [verdict.body["greeting"] for verdict in endpoint.signals]
    assert "deployment started" in first.stderr
    assert "deployment started" not in again.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_of_the_system_ends_it_cleanly(
    agent_command: list[str], environment: dict[str, str], directory: Path, number: int
) -> None:
    with serving(agent_command, environment, directory) as (process, url):
        assert 200 == ask(url)[0]
        os.kill(process.pid, number)

        assert 0 == process.wait(LONGEST_S)


def test_a_directory_or_port_that_cannot_be_is_wrong_usage(
    agent_command: list[str], environment: dict[str, str], tmp_path: Path, endpoint: serve.Endpoint
) -> None:
    taken = endpoint.url.rpartition(":")[2]
    for arguments in ([str(tmp_path / "none")], [str(tmp_path), "--port", taken], [str(tmp_path), "--port", "99999"]):
        finished = subprocess.run(
            [*agent_command, "serve", *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=LONGEST_S,
            check=False,
        )

        assert (64, "", 1) == (finished.returncode, finished.stdout, len(finished.stderr.splitlines()))


def test_the_quick_start_goes_as_it_promises(
    agent_command: list[str], environment: dict[str, str], tmp_path: Path
) -> None:
    finished = subprocess.run(
        [agent_command[0], str(QUICKSTART / "demo.py")],
        env={**environment, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=LONGEST_S,
        check=False,
    )

    assert (0, "") == (finished.returncode, finished.stderr), finished.stdout
    assert "Everything went as promised." == finished.stdout.splitlines()[-1]
    assert len(finished.stdout.splitlines()) <= 30
