"""cfn-hup as a daemon and as one pass, on a CloudFormation API of the test's own."""

import json
import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.cfn.conftest import PATH, Door
from tests.peers import served
from tests.waiting import LONGEST_S, until


@dataclass
class Api:
    """What the stack has: logical name -> metadata."""

    metadata: dict[str, object] = field(default_factory=dict)
    asked: int = 0
    port: int = 0


@pytest.fixture
def api() -> Iterator[Api]:
    known = Api({"Web": {"version": 1}})

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known.asked += 1
            detail = {"ResourceStatus": "CREATE_COMPLETE", "Metadata": json.dumps(known.metadata["Web"])}
            result = {"DescribeStackResourceResult": {"StackResourceDetail": detail}}
            answer = json.dumps({"DescribeStackResourceResponse": result}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as known.port:
        yield known


@pytest.fixture
def witness() -> Iterator[Path]:
    """A file that anybody may make."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o777)
        yield Path(name, "witness")


@pytest.fixture
def config(tmp_path: Path, api: Api, witness: Path) -> Path:
    """AWS's directory of configuration, with a hook that writes what it saw, as the user daemon."""
    directory = tmp_path / "cfn"
    (directory / "hooks.d").mkdir(parents=True)
    (directory / "keys").write_text("AWSAccessKeyId=a\nAWSSecretKey=b\n")
    (directory / "cfn-hup.conf").write_text(
        f"[main]\nstack=s\ncredential-file={directory}/keys\nurl=http://127.0.0.1:{api.port}/v1/\ninterval=60\n"
    )
    told = "$(id -u) $(grep ^Uid /proc/self/status | tr '\\t' ' ') $CFN_OLD_METADATA to $CFN_NEW_METADATA"
    action = f'echo "{told}" >> {witness}'
    (directory / "hooks.d/web.conf").write_text(
        f"[web]\ntriggers=post.update\npath=Resources.Web.Metadata.version\naction={action}\nrunas=daemon\n"
    )
    return directory


def seen(witness: Path) -> list[str]:
    return witness.read_text().splitlines() if witness.exists() else []


AS_DAEMON = "1 Uid: 1 1 1 1"


def test_one_pass_runs_the_hook_of_what_changed_without_any_privilege(
    witness: Path, api: Api, config: Path, door: Door
) -> None:
    lines = []
    for version in (1, 1, 2):
        api.metadata["Web"] = {"version": version}
        answer = door("cfn-hup", "-c", config)
        assert (0, "") == (answer.returncode, answer.stderr)
        lines.append(seen(witness))

    first, second = f"{AS_DAEMON}  to 1", f"{AS_DAEMON} 1 to 2"
    assert [[first], [first], [first, second]] == lines


def test_the_daemon_stays_looks_again_on_sighup_and_ends_on_sigterm(
    tmp_path: Path, witness: Path, api: Api, config: Path, command: Callable[..., list[str]]
) -> None:
    with (tmp_path / "said").open("wb") as said:
        daemon = subprocess.Popen(
            command("cfn-hup", "--daemon", "-v", "-c", config),
            env={"PATH": PATH, "HOME": "/root"},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
        )
    try:
        until(lambda: len(seen(witness)) == 1, "the first pass")
        api.metadata["Web"] = {"version": 2}
        (config / "hooks.d/more.conf").write_text(
            f"[more]\ntriggers=post.update\npath=Resources.Web\naction=echo more >> {tmp_path}/more\nrunas=root\n"
        )
        asked = api.asked
        os.kill(daemon.pid, signal.SIGHUP)
        until(lambda: len(seen(witness)) == 2, "the second pass")
        (config / "cfn-hup.conf").write_text("[main]\n")
        os.kill(daemon.pid, signal.SIGHUP)
        until(lambda: "going on as before" in (tmp_path / "said").read_text(), "a word about the broken file")
        until(lambda: api.asked >= asked + 2, "the third pass")
        os.kill(daemon.pid, signal.SIGTERM)

        assert 0 == daemon.wait(LONGEST_S)
        assert [f"{AS_DAEMON}  to 1", f"{AS_DAEMON} 1 to 2"] == seen(witness)
        assert "more\n" == (tmp_path / "more").read_text()
    finally:
        daemon.kill()
        daemon.wait(LONGEST_S)
