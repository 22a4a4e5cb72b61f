"""What somebody sees who tries the agent for the first time, on a terminal and in a pipe."""

import json
import subprocess

from tests.operator.conftest import Ask
from tests.operator.terminal import on_terminal
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest
from tests.waiting import LONGEST_S


def test_on_a_terminal_a_run_is_told_by_names_and_ends_with_the_status(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n"), endpoint.script("broken", "#!/bin/sh\nexit 3\n"))

    shown = on_terminal(guest.argv("--once"), guest.environment(TERM="xterm"), guest.root)

    assert "deployment started  web group=script" in shown
    assert "outcome signalled  broken status=3" in shown
    assert "id-web" not in shown.partition("failed")[0], "names, not ids"
    assert "\x1b[31mfailed\x1b[0m: 1 done, 1 failed" in shown
    assert "> agent show broken" in shown


def test_a_warning_is_a_word_where_colours_are_not_wanted(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.metadata_status = 503

    shown = on_terminal(guest.argv("--once"), guest.environment(TERM="xterm", NO_COLOR="1"), guest.root)

    assert "warning: source unavailable  source=request" in shown
    assert "\x1b" not in shown


def test_in_a_pipe_events_are_json_and_nothing_else_is_said(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n"))

    done = guest.once()

    assert "" == done.stdout
    assert all(json.loads(line)["event"] for line in done.stderr.splitlines())


def test_an_event_does_nothing_to_a_terminal(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve({**endpoint.script("web", "#!/bin/sh\n"), "name": "\x1b]0;owned\x07"})

    shown = on_terminal(guest.argv("--once"), guest.environment(TERM="xterm"), guest.root)

    assert "\x1b]0" not in shown
    assert "\x07" not in shown


def test_without_a_source_it_says_what_to_name(guest: Guest, ask: Ask) -> None:
    done = guest.once(request_metadata_url="")

    said = ask("status")

    assert 78 == done.status
    assert "no source is configured" in done.stderr
    assert "--request-metadata-url URL" in done.stderr
    assert 2 == said.status
    assert "no source of metadata is configured, so nothing can be deployed" in said.stdout


def test_the_bare_command_fits_on_a_page(guest: Guest, agent_command: list[str], environment: dict[str, str]) -> None:
    done = subprocess.run(agent_command, env=environment, capture_output=True, text=True, timeout=LONGEST_S)

    assert 64 == done.returncode
    assert len(done.stdout.splitlines()) < 60
    assert "Begin with agent plan or agent --once" in done.stdout
    assert "--polling-interval" not in done.stdout
