"""What Prometheus reads of a guest, by the rules of its text format."""

import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent.bulletin import Bulletin
from agent.state import Places
from agent.view import metrics, status
from agent.view.guest import Guest as Seen
from agent.view.status import Source, Status
from tests.operator.conftest import Ask
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest
from tests.waiting import until

QUICK = {"polling_interval": "0.2", "min_polling_interval": "0.1"}
NAME = re.compile(r"[a-z][a-z0-9_]*[a-z0-9]")
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
LABEL = re.compile(r'([a-z]+)="((?:[^"\\\n]|\\[\\"n])*)"')


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """Samples by name and label values; every one has HELP and TYPE before it, none stands twice."""
    assert text.endswith("\n")
    samples: dict[tuple[str, ...], float] = {}
    told: dict[str, set[str]] = {"HELP": set(), "TYPE": set()}
    for line in text.removesuffix("\n").split("\n"):
        if line.startswith("# "):
            _, kind, name, rest = line.split(" ", 3)
            assert name not in told[kind], f"{kind} of {name} twice"
            told[kind].add(name)
            assert kind == "HELP" or rest == "gauge"
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        assert NAME.fullmatch(name), name
        assert name.startswith("os_deploy_agent_")
        assert not name.endswith("_total"), "a gauge is no counter"
        assert name in told["HELP"] & told["TYPE"]
        unescaped = (re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), v) for _, v in LABEL.findall(labels or ""))
        key = (name, *unescaped)
        assert key not in samples, key
        samples[key] = float(value)
    return samples


def test_the_end_of_each_certificate_is_told() -> None:
    ends = {"https://heat:8004": 1_800_000_000.0, "/etc/ca.pem": 1_900_000_000.0}
    seen = Seen(Places(Path("/s"), Path("/d")), Bulletin(certificates=ends), "", 0, 0.0, (), ())

    samples = parsed(metrics.text(status.judge(seen, 1.0)))

    found = {key[1]: end for key, end in samples.items() if key[0].endswith("certificate_end_timestamp_seconds")}
    assert ends == found


def test_states_sources_and_times_are_told_and_kept_up_to_date(guest: Guest, endpoint: Endpoint) -> None:
    file = guest.root / "metrics/agent.prom"
    file.parent.mkdir()
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n"), endpoint.script("broken", "#!/bin/sh\nexit 1\n"))
    guest.start("run", metrics_file="/metrics/agent.prom", **QUICK)
    until(lambda: len(endpoint.signals) == 2, "both outcomes")
    done, failed = (("os_deploy_agent_deployments", state) for state in ("done", "failed"))
    samples = until(
        lambda: file.exists() and (s := parsed(file.read_text()))[done] == s[failed] == 1 and s,
        "the metrics of the end",
    )

    assert 0 == samples["os_deploy_agent_deployments", "running"]
    assert (1, 0) == (samples["os_deploy_agent_status", "failed"], samples["os_deploy_agent_status", "fine"])
    assert 1 == samples["os_deploy_agent_source_up", "request"]
    assert samples["os_deploy_agent_start_timestamp_seconds",] <= samples["os_deploy_agent_last_end_timestamp_seconds",]
    assert 0o644 == file.stat().st_mode & 0o777

    endpoint.metadata_status = 503
    until(lambda: not parsed(file.read_text())["os_deploy_agent_source_up", "request"], "the source to be told as down")


def test_an_idle_agent_leaves_the_file_alone(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n"))
    guest.start("run", metrics_file="/agent.prom", **QUICK)
    until(lambda: guest.states() == {"id-web": "signalled"}, "the deployment to be done")
    polls = endpoint.polls
    until(lambda: endpoint.polls > polls + 2, "the metrics to settle")
    before, polls = (guest.root / "agent.prom").stat(), endpoint.polls
    until(lambda: endpoint.polls > polls + 3, "three polls without news")

    assert before.st_ino == (guest.root / "agent.prom").stat().st_ino


def test_without_the_setting_there_is_no_file(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n"))
    guest.once()

    assert [] == list(guest.root.rglob("*.prom"))


def test_a_directory_that_is_not_there_stops_nothing(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n"))

    done = guest.once(metrics_file="/nowhere/agent.prom")

    assert 0 == done.status
    assert done.events("metrics not written")


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.sampled_from(["", "down"]), max_size=4))
def test_any_name_of_a_source_is_a_label(sources: dict[str, str]) -> None:
    seen = Seen(Places(Path(), Path()), Bulletin(), "", 0, 0.0, (), ())
    told = Status(seen, tuple(Source(name, 1.0, 1.0, fault) for name, fault in sources.items()), (), "", "")

    samples = parsed(metrics.text(told))

    assert {name: float(not fault) for name, fault in sources.items()} == {
        key[1]: value for key, value in samples.items() if key[0] == "os_deploy_agent_source_up"
    }
    assert len(status.STATES) == sum(key[0] == "os_deploy_agent_deployments" for key in samples)
