"""cfn-init and its family through their command line, in a mount namespace where /var is the test's own."""

import http.server
import json
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT, need, require

need("unshare", "mount")
require(os.geteuid() == 0, "needs root for a mount namespace")

Door = Callable[..., "subprocess.CompletedProcess[str]"]
Seen = list[tuple[str, "str | None", object]]


@pytest.fixture
def door(tmp_path: Path) -> Door:
    program = tmp_path / "agent"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n"
        "from agent.cli.main import entry\nentry()\n"
    )
    program.chmod(0o755)
    for name in ("lib/heat-cfntools", "cache", "log"):
        (tmp_path / name).mkdir(parents=True)
    binds = "".join(f"mount --bind {tmp_path / name} /var/{name} && " for name in ("lib", "cache", "log"))

    def call(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
        link = tmp_path / name
        if not link.exists():
            link.symlink_to(program)
        line = f"{binds}exec {shlex.join([str(link), *map(str, arguments)])}"
        return subprocess.run(
            ["unshare", "-m", "/bin/sh", "-c", line],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return call


@pytest.fixture
def handle() -> Iterator[tuple[str, Seen]]:
    """A wait condition handle of the OS:: kind: it takes lower-case keys alone."""
    seen: Seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            seen.append((self.command, self.headers["Content-Type"], body))
            good = set(body) == {"status", "reason", "data", "id"}
            answer = b"" if good else b"Metadata format invalid"
            self.send_response(200 if good else 500)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1/waitcondition/arn", seen
    server.shutdown()
    server.server_close()


def document(path: Path, **config: object) -> Path:
    path.write_text(json.dumps({"AWS::CloudFormation::Init": {"config": config}}))
    return path


def test_sections_run_in_order_and_the_log_is_roots_alone(tmp_path: Path, door: Door) -> None:
    made, seen = tmp_path / "made", tmp_path / "seen"
    metadata = document(
        tmp_path / "m.json",
        commands={"b": {"command": f"cat {made} > {seen}"}, "a": {"command": f"printf two >> {made}"}},
        files={str(made): {"content": "one ", "mode": "000600"}},
    )

    answer = door("cfn-init", metadata)

    assert (0, "") == (answer.returncode, answer.stderr)
    assert "one two" == seen.read_text()
    assert 0o600 == (tmp_path / "log/cfn-init.log").stat().st_mode & 0o777


def test_nothing_is_done_when_anything_is_wrong(tmp_path: Path, door: Door) -> None:
    metadata = document(
        tmp_path / "m.json",
        files={str(tmp_path / "made"): {"content": "x"}},
        services={"systemd": {"-x": {"enabled": True}}},
    )

    answer = door("cfn-init", metadata)

    assert 1 == answer.returncode
    assert "config.services.systemd.-x" in answer.stderr
    assert not (tmp_path / "made").exists()


def test_runas_leaves_no_privilege(tmp_path: Path, door: Door) -> None:
    tell = "grep -E 'Uid|Groups' /proc/self/status; exit 3"
    metadata = document(tmp_path / "m.json", commands={"a": {"command": tell, "runas": "daemon"}})

    answer = door("cfn-init", metadata)

    assert "command a failed" in answer.stderr
    uids, groups = (line.split()[1:] for line in answer.stderr.splitlines() if line.startswith(("Uid", "Groups")))
    assert {"1"} == set(uids)
    assert "0" not in groups


def test_a_handle_that_wants_lower_case_gets_it(door: Door, handle: tuple[str, Seen]) -> None:
    url, seen = handle

    answer = door("cfn-signal", "-i", "one", "-e", "3", "-r", "why", url)

    assert 0 == answer.returncode, answer.stderr
    assert {None} == {kind for _, kind, _ in seen}
    assert {
        "status": "FAILURE",
        "reason": "why",
        "id": "one",
        "data": "Application has completed configuration.",
    } == seen[-1][2]
    assert 2 == len(seen)
