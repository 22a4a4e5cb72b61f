"""The metadata service and the config drive, also at their real addresses and through the real tools' names."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from agent import pace
from agent.collectors import config_drive, ec2
from agent.errors import MetadataError, Unavailable
from agent.identity import Tokens
from agent.model import Document
from agent.settings import Given, Settings
from agent.transport import Client, Limits
from tests.conftest import require
from tests.fakes import Peer, Raw, Reply
from tests.waiting import LONGEST_S

TREE = {
    "/md/": b"ami-id\npublic-keys/\nplacement/\n\nempty/",
    "/md/ami-id": b"ami-1",
    "/md/public-keys/": b"0=my key",
    "/md/public-keys/0/": b"openssh-key",
    "/md/public-keys/0/openssh-key": b"ssh-rsa AAA",
    "/md/placement/": b"availability-zone",
    "/md/placement/availability-zone": b"nova",
    "/md/empty/": b"",
}
CONTENT = {
    "ami-id": "ami-1",
    "public-keys": {"0": {"openssh-key": "ssh-rsa AAA"}},
    "placement": {"availability-zone": "nova"},
    "empty": {},
}


def serve(peer: Peer) -> str:
    peer.answers |= {path: Reply(200, body) for path, body in TREE.items()}
    return f"{peer.url}/md"


def ask(client: Client, url: str, root: Path, previous: tuple[Document, ...] = ()) -> tuple[Document, ...]:
    settings = Given(root, {"ec2.metadata_url": url}).settings()
    return ec2.collect(settings, client, Tokens(client), previous)


def test_the_tree_is_one_document(peer: Peer, client: Client, root: Path) -> None:
    [document] = ask(client, serve(peer), root)

    assert CONTENT == document.content
    assert "ec2" == document.name


def test_the_tree_is_read_again_each_time(peer: Peer, client: Client, root: Path) -> None:
    url = serve(peer)
    known = ask(client, url, root)
    peer.answers["/md/ami-id"] = Reply(200, b"ami-2")

    [document] = ask(client, url, root, known)

    assert "ami-2" == document.content["ami-id"]


def test_an_error_anywhere_in_the_tree_is_no_half_document(peer: Peer, client: Client, root: Path) -> None:
    url = serve(peer)
    peer.answers["/md/placement/availability-zone"] = Reply(500)

    with pytest.raises(Unavailable, match="availability-zone: answered 500"):
        ask(client, url, root)


def test_a_tree_that_drips_is_given_up(peer: Peer, root: Path) -> None:
    url = serve(peer)
    peer.answers["/md/placement/"] = Raw(repeat(b"x"), pause_s=0.1)

    with pytest.raises(Unavailable, match=r"within 1 s; .*see total_timeout"):
        ask(Client(Limits(total_s=1.0)), url, root)


@pytest.mark.parametrize("listing", [b"", b"\n\n"])
def test_an_empty_tree_is_no_document(peer: Peer, client: Client, root: Path, listing: bytes) -> None:
    peer.answers["/md/"] = Reply(200, listing)

    with pytest.raises(MetadataError, match="the listing is empty"):
        ask(client, f"{peer.url}/md", root)


def test_a_tree_without_an_end_is_given_up(peer: Peer, client: Client, root: Path) -> None:
    for depth in range(12):
        peer.answers["/md/" + "a/" * depth] = Reply(200, b"a/")

    with pytest.raises(MetadataError, match="nested deeper than 8 levels"):
        ask(client, f"{peer.url}/md", root)


def test_a_login_page_is_not_followed_for_ever(
    peer: Peer, client: Client, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ec2, "_REQUESTS", 20)
    peer.answers["/md/"] = Reply(200, b"\n".join(b"line %d" % number for number in range(30)))
    peer.answers |= {f"/md/line%20{number}": Reply(200, b"x") for number in range(30)}

    with pytest.raises(MetadataError, match="more than 20 entries"):
        ask(client, f"{peer.url}/md", root)


def test_the_address_that_answered_last_time_goes_first(peer: Peer, client: Client, root: Path) -> None:
    url = serve(peer)
    both = f"http://127.0.0.1:9/latest,{url}"
    known = ask(client, both, root)
    before = len(peer.requests)

    [document] = ask(client, both, root, known)

    assert CONTENT == document.content
    assert url == document.validator["url"]
    assert len(TREE) == len(peer.requests) - before


def test_it_is_asked_seldom(root: Path) -> None:
    settings = Given(root).settings()

    assert [(300.0, 300.0)] * 2 == [pace.bounds(name, settings) for name in ("ec2", "config_drive")]


# ---------------------------------------------------------------------------------------- real addresses

SERVER = """
import socket, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Tree(BaseHTTPRequestHandler):
    def do_GET(self):
        body = {"/latest/meta-data/": b"ami-id", "/latest/meta-data/ami-id": self.headers["Host"].encode()}[self.path]
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
class Server(HTTPServer):
    address_family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
server = Server(tuple(socket.getaddrinfo(sys.argv[1], 80)[0][4]), Tree)
print("up", flush=True)
server.serve_forever()
"""
CLIENT = """
import json, sys
from pathlib import Path
from agent.collectors import ec2
from agent.settings import Given
from agent.transport import Client, Limits
[document] = ec2.collect(Given(Path("/")).settings(), Client(Limits(connect_s=10.0)), None, ())
print(json.dumps([document.content, dict(document.validator)]))
"""


@pytest.fixture
def namespace() -> Iterator[str]:
    """A network of its own with one pair of interfaces, `md0` and `md1`."""
    require(os.geteuid() == 0 and shutil.which("ip"), "needs root and ip for a network namespace")
    name = f"md-{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    require(made.returncode == 0, f"no network namespace here: {made.stderr.strip()}")
    try:
        steps = ("link add md0 type veth peer name md1", "link set lo up", "link set md0 up", "link set md1 up")
        for words in steps:
            subprocess.run(["ip", "-n", name, *words.split()], check=True)
        yield name
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False)


@pytest.mark.parametrize(
    ("address", "host"),
    [("169.254.169.254", "169.254.169.254"), ("fe80::a9fe:a9fe%md0", "[fe80::a9fe:a9fe]")],
    ids=["IPv4", "IPv6"],
)
def test_the_service_is_found_at_its_link_local_address(
    namespace: str, environment: dict[str, str], address: str, host: str
) -> None:
    inside = ["ip", "netns", "exec", namespace, sys.executable, "-c"]
    prefix = f"{address.partition('%')[0]}/{'64' if ':' in address else '32'}"
    nodad = ["nodad"] if ":" in address else []
    subprocess.run(["ip", "-n", namespace, "address", "add", prefix, "dev", "md0", *nodad], check=True)
    with subprocess.Popen([*inside, SERVER, address], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            assert "up\n" == server.stdout.readline()
            done = subprocess.run(
                [*inside, CLIENT], env=environment, capture_output=True, text=True, timeout=LONGEST_S, check=False
            )
        finally:
            server.kill()

    assert 0 == done.returncode, done.stderr
    content, validator = json.loads(done.stdout)
    assert {"ami-id": host} == content
    assert address.partition("%")[0] in validator["url"]


# ------------------------------------------------------------------------------------------- config drive

BLKID = """#!/bin/sh
[ "$1 $2" = "-o export" ] || exit 4
printf 'DEVNAME=/dev/sda1\\nLABEL=root\\nTYPE=ext4\\n\\nDEVNAME=%s\\nLABEL=config-2\\nTYPE=%s\\n' "$DRIVE" "$KIND"
"""
MOUNT = """#!/bin/sh
echo "mount $*" >> "$TOLD"
[ "$1 $3 $4" = "$DRIVE -o ro" ] || exit 32
mkdir -p "$2/ec2/latest" && echo '{"instance-id": "i-1"}' > "$2/ec2/latest/meta-data.json"
"""
UMOUNT = """#!/bin/sh
echo "umount $*" >> "$TOLD"
rm -r "$2/ec2"
"""


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand-ins for blkid, mount and umount, which note here what they were asked."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for name, text in {"blkid": BLKID, "mount": MOUNT, "umount": UMOUNT}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    for name, value in {"DRIVE": "/dev/sr7", "KIND": "iso9660", "TOLD": f"{tmp_path}/told"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return tmp_path / "told"


def read_drive(settings: Settings, client: Client) -> tuple[Document, ...]:
    return config_drive.collect(settings, client, Tokens(client), ())


def test_a_drive_is_mounted_read_only_for_as_long_as_reading_takes(told: Path, client: Client, root: Path) -> None:
    [document] = read_drive(Given(root).settings(), client)

    assert {"instance-id": "i-1"} == document.content
    assert "config_drive" == document.name
    mount, umount = told.read_text().splitlines()
    place = mount.split()[2]
    assert [f"mount /dev/sr7 {place} -o ro", f"umount -l {place}"] == [mount, umount]
    assert not Path(place).exists()


def test_a_mounted_drive_is_read_where_it_is(told: Path, client: Client, root: Path) -> None:
    place = root / "mnt/config drive"
    (place / "ec2/latest").mkdir(parents=True)
    (place / "ec2/latest/meta-data.json").write_text('{"instance-id": "i-2"}')
    (root / "proc").mkdir()
    (root / "proc/mounts").write_text(f"/dev/sr7 {str(place).replace(' ', chr(92) + '040')} iso9660 ro 0 0\n")

    [document] = read_drive(Given(root).settings(), client)

    assert {"instance-id": "i-2"} == document.content
    assert not told.exists()


def test_another_file_system_of_that_label_is_no_config_drive(
    told: Path, client: Client, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KIND", "ext4")

    with pytest.raises(Unavailable, match="no vfat or iso9660 file system is labelled config-2"):
        read_drive(Given(root).settings(), client)

    assert not told.exists()


def test_a_drive_that_cannot_be_mounted_is_named_and_leaves_nothing(told: Path, client: Client, root: Path) -> None:
    (told.parent / "tools/mount").write_text("#!/bin/sh\necho wrong fs type >&2\nexit 32\n")

    with pytest.raises(Unavailable, match=r"mounting the config drive /dev/sr7: .*ended with 32 \(wrong fs type\)"):
        read_drive(Given(root).settings(), client)

    assert [] == list((told.parent / "tmp").iterdir())


def test_without_tools_there_is_no_drive(client: Client, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config_drive, "_tool", lambda name: f"/nowhere/{name}")

    with pytest.raises(Unavailable, match="looking for a config drive"):
        read_drive(Given(root).settings(), client)


@pytest.fixture
def disk(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """A loop device that begins as a CD of that label does: its volume descriptor and nothing else (ECMA-119 8.4)."""
    require(os.geteuid() == 0 and Path("/dev/loop-control").exists(), "needs root and loop devices")
    descriptor = b"\x01CD001\x01\x00" + b" " * 32 + request.param.encode().ljust(32)
    end = b"\xffCD001\x01"
    image = tmp_path / "image"
    image.write_bytes(bytes(16 * 2048) + descriptor.ljust(2048, b"\0") + end.ljust(2048, b"\0") + bytes(64 * 2048))
    command = ["losetup", "--find", "--show", "--read-only", str(image)]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    require(made.returncode == 0, f"no loop device here: {made.stderr.strip()}")
    yield made.stdout.strip()
    subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


@pytest.mark.parametrize("disk", ["config-2", "CONFIG-2"], indirect=True)
def test_a_real_disk_is_found_by_its_label(disk: str, client: Client, root: Path) -> None:
    settings = Given(root).settings()

    assert disk == config_drive.find(settings)
    with pytest.raises(Unavailable, match=f"mounting the config drive {disk}"):  # there is nothing on it
        read_drive(settings, client)


@pytest.mark.parametrize("disk", ["config-3"], indirect=True)
def test_a_real_disk_of_another_label_is_none(disk: str, root: Path) -> None:
    assert disk != config_drive.find(Given(root).settings())
