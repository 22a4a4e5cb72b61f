"""What an operator reads of one deployment, and of all that were."""

import json
import subprocess
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.errors import UsageError
from agent.model import Entry
from agent.view.find import find
from agent.view.guest import Known
from tests.operator.conftest import Ask
from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.unit.values import deployment
from tests.waiting import LONGEST_S, until

QUICK = {"polling_interval": "0.2", "min_polling_interval": "0.1"}
FINE = "#!/bin/sh\necho ran\n"
GATED = "#!/bin/sh\necho begin >> $WITNESS\necho first\nwhile [ ! -e $WITNESS.open ]; do sleep 0.05; done\necho last\n"
SECRET = "s3same-open-9"


def test_everything_that_is_known_of_one_deployment(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\necho out\necho err >&2\nexit 3\n", options={"timeout": 60}))
    guest.once()

    said = ask("show", "web").stdout
    facts = json.loads(ask("show", "web", "--json").stdout)

    for words in ("web  id-web", "failed (status 3: err)", "group       script", "timeout: 60", "stdout      out"):
        assert words in said
    assert ("failed", 3, "out\n", 60) == (
        facts["state"],
        facts["outcome"]["deploy_status_code"],
        facts["outcome"]["deploy_stdout"],
        facts["options"]["timeout"],
    )
    assert 0 < facts["received_at"] <= facts["began_at"] <= facts["ended_at"] <= facts["settled_at"]
    assert ("", ["deploy_signal_id"]) == (facts["endpoint"]["url"], facts["not_kept"])  # it was taken
    assert all(Path(path).exists() for path in facts["files"].values())


def test_tries_to_send_and_why_they_failed(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE))
    endpoint.spoil = answering(503)
    guest.once(once_patience="0")

    said = ask("show", "web").stdout

    assert "1 failed tries, next at 20" in said
    assert "503" in said


def test_what_nobody_waits_for_is_settled_and_not_signalled(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    quiet = [{"name": "deploy_signal_transport", "type": "String", "value": "NO_SIGNAL"}]
    endpoint.serve({**endpoint.script("web", FINE), "inputs": quiet})
    guest.once()

    said = ask("show", "web").stdout

    assert "sending     to nobody, nobody waits for a signal" in said
    assert "settled     20" in said
    assert "signalled" not in said


def test_secrets_in_inputs_urls_options_and_outputs_are_masked(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    inputs = [
        {"name": "db_password", "type": "String", "value": SECRET},
        {"name": "repository", "type": "String", "value": f"https://me:{SECRET}@git.example.org/x"},
        {"name": "table", "type": "Json", "value": {"api_token": SECRET}},
        {"name": "plain", "type": "String", "value": "nothing to hide"},
        {"name": "deploy_signal_id", "type": "String", "value": f"{endpoint.signal_url('web')}?Signature={SECRET}"},
        {"name": "deploy_signal_transport", "type": "String", "value": "CFN_SIGNAL"},
    ]
    script = f"#!/bin/sh\nexport TOKEN={SECRET}\necho password={SECRET}\necho password={SECRET} >&2\nexit 1\n"
    endpoint.serve({**endpoint.script("web", script, options={"registry_password": SECRET}), "inputs": inputs})
    guest.once()

    shown = [ask(*words).stdout for words in (("show", "web"), ("show", "web", "--json"), ("history", "--json"))]

    assert not any(SECRET in text for text in shown)
    assert all("nothing to hide" in text for text in shown[:2])
    assert "repository: (a secret that this guest keeps no more" in " ".join(shown[0].split())


def test_history_tells_all_that_was_deployed_also_what_has_left(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("first", FINE))
    guest.once()
    endpoint.serve(endpoint.script("second", "#!/bin/sh\nexit 4\n"))
    guest.once()

    header, first, second = ask("history").stdout.splitlines()

    assert ["RECEIVED", "DEPLOYMENT", "ID", "ACTION", "STATE", "STATUS", "TOOK"] == header.split()
    assert (["first", "id-first", "done", "0"], ["second", "id-secon", "failed", "4"]) == (
        first.split()[1:5],
        second.split()[1:5],
    )
    assert ["first", "second"] == [line["name"] for line in json.loads(ask("history", "--json").stdout)]


def test_the_log_is_what_was_printed(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", FINE), endpoint.script("database", "#!/bin/sh\necho other\n"))
    guest.once()

    assert "ran\n" == ask("log", "web").stdout
    assert "other\n" == ask("log").stdout, "without a name it is the newest"


def test_a_log_that_is_followed_ends_with_its_deployment(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", GATED))
    guest.start("run", **QUICK)
    until(guest.seen, "the hook to begin")
    follower = subprocess.Popen(
        [*guest.argv("log"), "web", "--follow"], env=guest.environment(), stdout=subprocess.PIPE, text=True
    )
    assert follower.stdout is not None
    assert "first\n" == follower.stdout.readline()

    Path(f"{guest.witness}.open").touch()

    rest, _ = follower.communicate(timeout=LONGEST_S)
    assert ("last\n", 0) == (rest, follower.returncode)


def test_a_deployment_that_printed_nothing_says_where_it_would_be(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    said = ask("log")

    assert (64, "agent: no deployment has printed anything here; see agent status\n") == (said.status, said.stderr)


def test_a_beginning_that_fits_several_names_them(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web-1", FINE), endpoint.script("web-2", FINE))
    guest.once()

    said = ask("show", "web")

    assert 64 == said.status
    assert "'web' fits 2 deployments: web-1 (id-web-1), web-2 (id-web-2); give more of one" in said.stderr
    assert 0 == ask("show", "id-web-2").status


def known(name: str, *, listed: bool = True) -> Known:
    of = deployment(f"id-{name}")
    entry = Entry(of.key, "signalled")
    return Known(of, entry, listed, {}, {}, 0.0, 0.0, 0.0, 0.0, 0.0, Path(), 0)


@given(st.sets(st.text("abc", min_size=1, max_size=5), min_size=1, max_size=6), st.data())
def test_whoever_is_found_is_meant(names: set[str], data: st.DataObject) -> None:
    """A whole id always finds its own; a beginning finds one that begins so, or nobody."""
    all_known = [known(name) for name in sorted(names)]
    wanted = data.draw(st.sampled_from(all_known))

    assert find(wanted.entry.key, all_known) is wanted
    beginning = wanted.entry.key[: data.draw(st.integers(1, len(wanted.entry.key)))]
    whole = [k for k in all_known if k.entry.key == beginning]
    alone = whole or [k for k in all_known if k.entry.key.startswith(beginning)]
    try:
        found = find(beginning, all_known)
    except UsageError:
        assert len(alone) > 1
    else:
        assert [found] == alone


def test_of_two_of_one_name_the_one_that_is_listed_is_meant() -> None:
    old, new = known("web", listed=False), known("web")

    assert find("id-web", [old, new]) is new
