"""Process trees: what a timeout must end, and what a hook may leave behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import hours
from tests.conftest import CHECKOUT
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest, alive
from tests.waiting import LONGEST_S, until

DAEMONISED = """
import os, signal, sys, time
{ignoring}
if os.fork(): os._exit(0)
os.setsid()
if os.fork(): os._exit(0)
open(os.environ["WITNESS"], "a").write(f"{{os.getpid()}}\\n")
{then}
while True:
    time.sleep(0.05)
"""
IGNORING = "[signal.signal(n, signal.SIG_IGN) for n in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)]"
STOPPING = "os.kill(os.getpid(), signal.SIGSTOP)"
CLEAN = "os.environ.clear()\nos.execve(sys.executable, [sys.executable, '-c', 'import time; time.sleep(600)'], {})"


def hook(tmp_path: Path, then: str, ignoring: str = "", then_shell: str = "sleep 600") -> str:
    """A script that starts a double-forked daemon and goes on with `then_shell`."""
    program = tmp_path / "daemonised.py"
    program.write_text(DAEMONISED.format(ignoring=ignoring, then=then))
    return f"#!/bin/sh\n{sys.executable} {program}\nwhile [ ! -s $WITNESS ]; do sleep 0.02; done\n{then_shell}\n"


@pytest.mark.parametrize(
    ("ignoring", "then"),
    [("", ""), (IGNORING, ""), ("", STOPPING), (IGNORING, STOPPING), ("", CLEAN)],
    ids=["plain", "deaf", "stopped", "deaf and stopped", "with an empty environment"],
)
def test_a_timeout_ends_the_whole_tree(
    guest: Guest, endpoint: Endpoint, tmp_path: Path, ignoring: str, then: str
) -> None:
    hanging = f"touch {tmp_path}/hours/one\nsleep 600"
    endpoint.serve(
        endpoint.script("slow", hook(tmp_path, then, ignoring, hanging)),
        endpoint.script("next", "#!/bin/sh\necho next >> $WITNESS\n"),
    )

    environment = hours.variables(tmp_path / "hours")
    ended = guest.once(hook_timeout="60", environment=environment)

    [daemonised, following] = guest.seen()
    assert (1, "next") == (ended.status, following)
    assert not alive(int(daemonised))
    assert [] == guest.processes()
    [slow] = endpoint.of("slow")
    assert 124 == slow.body["deploy_status_code"]
    assert "timed out after 60 s" in slow.stderr
    assert "option timeout" in slow.stderr


def test_the_option_timeout_wins_over_the_setting(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("slow", "#!/bin/sh\nsleep 600\n", options={"timeout": "0.3"}))

    assert 1 == guest.once(hook_timeout="600").status
    assert "timed out after 0.3 s" in endpoint.signals[0].stderr


def test_a_timed_out_hook_keeps_what_it_printed(guest: Guest, endpoint: Endpoint, tmp_path: Path) -> None:
    script = f"#!/bin/sh\necho halfway\necho trouble >&2\ntouch {tmp_path}/hours/one\nsleep 600\n"
    endpoint.serve(endpoint.script("slow", script))

    guest.once(hook_timeout="60", environment=hours.variables(tmp_path / "hours"))

    [slow] = endpoint.signals
    assert "halfway\n" == slow.body["deploy_stdout"]
    assert slow.stderr.startswith("trouble\n")


def test_a_daemon_that_a_hook_leaves_behind_stays_and_can_still_print(
    guest: Guest, endpoint: Endpoint, tmp_path: Path
) -> None:
    printing = "for _ in range(40): print('x' * 65536, flush=True); time.sleep(0.02)\nos.rename(*sys.argv[1:])"
    program = tmp_path / "service.py"
    program.write_text(DAEMONISED.format(ignoring="", then=printing))
    before, after = tmp_path / "before", tmp_path / "after"
    before.touch()
    shell = f"{sys.executable} {program} {before} {after}\nwhile [ ! -s $WITNESS ]; do sleep 0.02; done"
    endpoint.serve(endpoint.script("service", f"#!/bin/sh\n{shell}\necho started\n"))

    ended = guest.once()

    [service] = map(int, guest.seen())
    assert (0, "COMPLETE") == (ended.status, endpoint.signals[0].judged)
    assert alive(service)
    until(after.exists, "the service to have printed 2.5 MiB")
    assert alive(service)


def test_a_hook_with_a_background_child_on_its_pipes_is_not_waited_for(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\nsleep 600 &\necho $! >> $WITNESS\necho done\n"))

    ended = guest.once()

    assert (0, "done\n") == (ended.status, endpoint.signals[0].body["deploy_stdout"])
    assert alive(int(guest.seen()[0]))


SLOW_READER = """
import os, sys, time
from pathlib import Path
from agent import process
here, forks = Path(sys.argv[1]), []
os.register_at_fork(before=lambda: forks.append(1))

def slowly(_chunk):
    (here / "heard").touch()
    time.sleep(0.5)

hook = "echo first; while [ ! -e heard ]; do sleep 0.02; done; head -c 60000 /dev/zero; echo last >&2"
ended = process.run(["sh", "-c", hook], env=os.environ, cwd=here, timeout_s=600, tee=slowly)
print(ended.stdout.total, ended.stderr.total, len(forks))
"""


def test_what_is_left_in_the_pipes_is_read_however_slow_we_are_and_nobody_stays_to_read_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", SLOW_READER, str(tmp_path)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(CHECKOUT)}

    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=LONGEST_S)

    assert "60006 5 0\n" == said.stdout


def test_a_hook_that_closes_its_output_is_waited_for(guest: Guest, endpoint: Endpoint) -> None:
    script = "#!/bin/sh\necho last words\nexec >&- 2>&-\nsleep 0.5\necho end >> $WITNESS\nexit 3\n"
    endpoint.serve(endpoint.script("web", script))

    ended = guest.once()

    [sent] = endpoint.signals
    assert (1, ["end"], 3) == (ended.status, guest.seen(), sent.body["deploy_status_code"])
    assert "last words\n" == sent.body["deploy_stdout"]


@pytest.mark.parametrize("number", [6, 9, 11, 15])
def test_a_hook_killed_by_a_signal_says_which(guest: Guest, endpoint: Endpoint, number: int) -> None:
    endpoint.serve(endpoint.script("web", f"#!/bin/sh\nulimit -c 0\nkill -{number} $$\n"))

    assert 1 == guest.once().status
    [sent] = endpoint.signals
    assert 128 + number == sent.body["deploy_status_code"]
    assert f"signal {number}" in sent.stderr


def test_a_hook_that_kills_its_runner_is_interrupted_and_the_others_go_on(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(
        endpoint.script("wild", "#!/bin/sh\nkill -9 $PPID\nsleep 600\n"),
        endpoint.script("next", "#!/bin/sh\necho next >> $WITNESS\n"),
    )

    assert 1 == guest.once().status
    assert ["next"] == guest.seen()
    [wild] = endpoint.of("wild")
    assert "interrupted" in wild.stderr
    assert [] == guest.processes()


def test_a_hook_inherits_nothing_but_its_three_streams(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(endpoint.script("web", "#!/bin/sh\nls /proc/self/fd\nls -l /proc/self/fd >&2\n"))

    guest.once()

    descriptors = endpoint.signals[0].body["deploy_stdout"].split()
    assert ["0", "1", "2", "3"] == descriptors, f"3 is the listed directory: {endpoint.signals[0].stderr}"
    assert str(os.getpid()) not in descriptors


def test_a_hook_dies_of_a_broken_pipe_as_everywhere(guest: Guest, endpoint: Endpoint) -> None:
    """A script that pipes `yes` into `head` would run forever where SIGPIPE is ignored and errors are not looked at."""
    endpoint.serve(endpoint.script("web", "#!/bin/sh\n(yes; echo status $? >&2) | head -1\n"))

    assert 0 == guest.once(hook_timeout="60").status
    assert ("y\n", "status 141\n") == (endpoint.signals[0].body["deploy_stdout"], endpoint.signals[0].stderr)
