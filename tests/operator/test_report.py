"""A bundle for support: no secret in it, not too large, and enough to make the same decisions again."""

import json
import tarfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import model
from agent.errors import MetadataError
from agent.model import Entry
from agent.plan import Phases
from agent.view import bundle, question
from agent.view.question import Question
from tests.operator.conftest import Ask
from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.unit.values import deployment

NAME = "report.tar.gz"


def contents(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        members = [member for member in archive if member.isfile()]
        return {m.name.partition("/")[2]: archive.extractfile(m).read().decode() for m in members}  # type: ignore[union-attr]


def planted(number: int) -> str:
    return f"s3same/{number:02}+open"


def plant(guest: Guest, endpoint: Endpoint) -> list[str]:
    """Secrets wherever people and clouds put them; returns them."""
    s = [planted(number) for number in range(16)]
    script = (
        f"#!/bin/sh\n# {s[0]}\necho {s[0]} | wc -c >/dev/null\n"  # written into the config, without a word about it
        f"echo 'the database has {s[1]}'\n"  # an input that the hook prints
        f"echo 'Authorization: Bearer {s[2]}'\necho 'export AWS_SECRET_ACCESS_KEY={s[3]}' >&2\n"
        f"printf -- '-----BEGIN PRIVATE KEY-----\\n{s[4]}\\n-----END PRIVATE KEY-----\\n' >&2\n"
        f"printf '{s[5]}' > $heat_outputs_path.connection\nexit 1\n"
    )
    inputs = [
        {"name": "db_password", "type": "String", "value": s[1]},
        {"name": "repository", "type": "String", "value": f"https://me:{s[6]}@git.example.org/x"},
        {"name": "table", "type": "Json", "value": {"deep": [{"api_token": s[7]}]}},
        {"name": "innocent", "type": "String", "value": s[8]},
        {"name": "deploy_signal_id", "type": "String", "value": f"{endpoint.signal_url('web')}?Signature={s[9]}"},
        {"name": "deploy_signal_transport", "type": "String", "value": "CFN_SIGNAL"},
        {"name": "deploy_password", "type": "String", "value": s[10]},
    ]
    web = {**endpoint.script("web", script, options={"registry_password": s[11]}), "inputs": inputs}
    web["outputs"] = [{"name": "connection", "type": "String"}]
    endpoint.serve(
        web,
        **{
            "os-collect-config": {"heat": {"password": s[12]}, "cfn": {"secret_access_key": s[13]}},
            "AWS::CloudFormation::Init": {"config": {"commands": {"1": {"command": f"login {s[14]}"}}}},
        },
    )
    settings = guest.root / "etc/os-deploy-agent/own.conf"
    settings.parent.mkdir(parents=True)
    settings.write_text(f"[zaqar]\npassword = {s[15]}\n")
    return s


def test_none_of_sixteen_kinds_of_secrets_is_in_a_report(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    secrets = plant(guest, endpoint)
    endpoint.spoil = answering(503)
    ended = guest.once(once_patience="0")

    said = ask("report", NAME)

    assert 0 == said.status, said.stderr
    files = contents(guest.root / NAME)
    assert [] == [secret for secret in secrets if any(secret in text for text in files.values())]
    assert [] == [secret for secret in secrets if secret in said.stdout + said.stderr + ended.stderr]
    assert "the database has ***" in files["logs/id-web.txt"]
    assert "web" in files["status.txt"]
    assert 0o600 == (guest.root / NAME).stat().st_mode & 0o777


def test_what_is_replayed_decides_as_it_did_there(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(
        endpoint.script("done", "#!/bin/sh\n"),
        endpoint.script("unsent", "#!/bin/sh\n"),
        endpoint.script("again", "#!/bin/sh\n"),
    )
    endpoint.spoil = lambda request, name: name == "unsent" and answering(503)(request, name)
    guest.once(once_patience="0")
    ask("rerun", "again")
    ask("report", NAME)

    said = ask("replay", NAME)

    stored = json.loads(contents(guest.root / NAME)["replay.json"])
    assert ["run", "id-again", False] in stored["answer"]
    assert (0, True) == (said.status, "steps as there" in said.stdout), said
    assert "run     id-again" in said.stdout


def test_a_decision_that_differs_is_shown(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n"))
    guest.once()
    ask("rerun", "web")
    ask("report", NAME)
    stored = json.loads(contents(guest.root / NAME)["replay.json"])
    with tarfile.open(guest.root / "other.tar.gz", "w:gz") as archive:
        (guest.root / "replay.json").write_text(json.dumps({**stored, "answer": []}))
        archive.add(guest.root / "replay.json", "os-deploy-agent-report/replay.json")

    said = ask("replay", "other.tar.gz")

    assert (1, True) == (said.status, "others than there:" in said.stdout)


@pytest.mark.parametrize("content", [b"", b"no archive", b"\x1f\x8b\x08\x00torn"])
def test_what_is_no_report_is_refused(guest: Guest, ask: Ask, content: bytes) -> None:
    (guest.root / NAME).write_bytes(content)

    said = ask("replay", NAME)

    assert (64, True) == (said.status, "name a file that agent report wrote" in said.stderr)


def test_a_report_is_bounded_however_much_was_printed(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    noisy = "#!/bin/sh\ni=0\nwhile [ $i -lt 20000 ]; do echo 'a line of noise'; i=$((i+1)); done\necho the end\n"
    endpoint.serve(endpoint.script("web", noisy))
    guest.once()

    ask("report", NAME)

    log = contents(guest.root / NAME)["logs/id-web.txt"]
    assert len(log) <= bundle.FILE_LIMIT
    assert log.endswith("the end\n")


def test_a_bundle_that_is_full_names_what_it_left_out(tmp_path: Path) -> None:
    files = [(f"{number}.json", f"{number}" * 50) for number in range(10, 90)]
    (tmp_path / NAME).write_bytes(bundle.pack(files, bundle.Scrub(()), 0.0, limit=4321))

    kept = contents(tmp_path / NAME)

    omitted = kept.pop("omitted").split()
    assert sum(map(len, kept.values())) <= 4321
    assert omitted
    assert [name for name, _ in files] == [*kept, *omitted]


@given(st.text("abcdefghijk/+ \"'\\é&=", min_size=8, max_size=20), st.data())
def test_a_known_secret_is_masked_plain_in_json_and_in_urls(secret: str, data: st.DataObject) -> None:
    scrub = bundle.Scrub([secret])
    form = data.draw(st.sampled_from([secret, json.dumps(secret)[1:-1], quote(secret), quote(secret, safe="")]))

    assert "before *** after" == scrub(f"before {form} after")


PROGRESS = st.sampled_from([model.UNKNOWN, model.RECEIVED, model.RUNNING, model.FINISHED, model.SIGNALLED])
PHASES = st.builds(
    Phases, wanted=st.sampled_from(["", "x"]), failing_since=st.floats(0, 50), retry_at=st.sampled_from([0.0, 1e9])
)


@given(st.dictionaries(st.text("abc", min_size=1, max_size=3), PROGRESS, max_size=5), PHASES, st.floats(0, 100))
def test_a_question_that_was_written_is_answered_as_before(
    progress: dict[str, str], phases: Phases, now: float
) -> None:
    asked = Question(
        tuple(deployment(key) for key in progress),
        {key: Entry(key, word, received_at=10.0) for key, word in progress.items()},
        frozenset({"script"}),
        phases,
        now,
        60.0,
    )

    read = question.from_json(json.loads(json.dumps(asked.as_json())))

    assert asked.answer() == read.answer()


@given(st.dictionaries(st.sampled_from(["deployments", "entries", "hooks", "phases", "now", "grace_s"]), st.none()))
def test_a_question_that_is_none_is_refused_in_words(content: dict[str, Any]) -> None:
    with pytest.raises(MetadataError):
        question.from_json(content)
