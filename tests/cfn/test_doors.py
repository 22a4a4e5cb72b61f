"""cfn-init and its family through their command line, in a mount namespace where /var is the test's own."""

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from tests.cfn.conftest import Door, document
from tests.peers import served

Seen = list[tuple[str, "str | None", object]]


@pytest.fixture
def handle() -> Iterator[tuple[str, Seen]]:
    """A wait condition handle of the OS:: kind: it takes lower-case keys alone."""
    seen: Seen = []

    class Handler(BaseHTTPRequestHandler):
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

    with served(Handler) as port:
        yield f"http://127.0.0.1:{port}/v1/waitcondition/arn", seen


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


LARGE = 96 << 20


@pytest.fixture
def store() -> Iterator[str]:
    """A server that streams `LARGE` zeros, or says how often it was asked for anything else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(LARGE))
            self.end_headers()
            for _ in range(LARGE >> 20):
                self.wfile.write(bytes(1 << 20))

        def log_message(self, *_: object) -> None:
            pass

    with served(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def test_a_download_larger_than_the_memory_it_may_use_becomes_a_file(tmp_path: Path, door: Door, store: str) -> None:
    """Measured by the kernel: the process never holds as much as it fetches."""
    metadata = document(tmp_path / "m.json", files={str(tmp_path / "big"): {"source": f"{store}/big.bin"}})

    answer = door("cfn-init", metadata, measured=True)

    assert 0 == answer.returncode, answer.stderr
    digest = hashlib.sha256()
    with (tmp_path / "big").open("rb") as file:
        for chunk in iter(lambda: file.read(1 << 20), b""):
            digest.update(chunk)
    assert (LARGE, hashlib.sha256(bytes(LARGE)).hexdigest()) == ((tmp_path / "big").stat().st_size, digest.hexdigest())
    assert LARGE // 1024 > int((tmp_path / "peak").read_text()), "KiB"


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


@pytest.mark.parametrize(
    ("flags", "status"),
    [
        (("-s", "true"), "SUCCESS"),
        (("-s", "True"), "FAILURE"),
        (("-s", "yes"), "FAILURE"),
        (("-e", ""), "SUCCESS"),
        (("-e", "", "-s", "false"), "FAILURE"),
        (("-e", "0", "-s", "false"), "SUCCESS"),
        (("--exit", "1"), "FAILURE"),
    ],
)
def test_true_alone_is_a_success_and_an_empty_status_is_none(
    door: Door, handle: tuple[str, Seen], flags: tuple[str, ...], status: str
) -> None:
    url, seen = handle

    door("cfn-signal", "-i", "one", *flags, url)

    [*_, (_, _, body)] = seen
    assert isinstance(body, dict)
    assert status == body["status"]


def test_links_are_told_and_what_is_in_their_place_stays(tmp_path: Path, door: Door) -> None:
    (source := tmp_path / "bin").mkdir()
    for name in ("cfn-hup", "cfn-init", "other"):
        (source / name).touch()
    target = tmp_path / "aws/bin"
    (target / "cfn-init").mkdir(parents=True)

    told = door("cfn-create-aws-symlinks", "-s", source, "-t", target)
    forced = door("cfn-create-aws-symlinks", "-s", source, "-t", target, "--force")
    same = door("cfn-create-aws-symlinks", "-s", source, "-t", source)

    assert (0, 1, 1) == (told.returncode, forced.returncode, same.returncode)
    assert [
        f"{source} -> {target}",
        f"{source}/cfn-hup -> {target}/cfn-hup",
        f"{target}/cfn-init already exists, will not replace with symlink; see --force",
    ] == told.stdout.splitlines()
    assert f"Source and target are the same {source}" in same.stdout
    assert ["cfn-hup", "cfn-init"] == sorted(path.name for path in target.iterdir())
    assert str(source / "cfn-hup") == (target / "cfn-hup").readlink().as_posix()


def test_base64_may_be_folded_and_is_not_guessed(tmp_path: Path, door: Door) -> None:
    folded = {"content": "aGVs\nbG8K\n", "encoding": "base64"}
    broken = {"content": "aGVsbG8K!", "encoding": "base64"}

    good = door("cfn-init", document(tmp_path / "g.json", files={str(tmp_path / "good"): folded}))
    bad = door("cfn-init", document(tmp_path / "b.json", files={str(tmp_path / "bad"): broken}))

    assert (0, "hello\n") == (good.returncode, (tmp_path / "good").read_text())
    assert (1, False) == (bad.returncode, (tmp_path / "bad").exists())
    assert "not base64" in bad.stderr
