"""The guest that the other tests stand on is a machine: it boots, keeps its disk, has limits and a network."""

import socket
from pathlib import Path

from tests.guest.guest import boot

BOOT_ID = "/proc/sys/kernel/random/boot_id"


def test_a_guest_boots_keeps_its_disk_and_leaves_the_base_alone(base: Path) -> None:
    with boot(base) as guest:
        first = guest.ask("cat", BOOT_ID)
        guest.ask("sh", "-c", "echo here > /root/kept")
        guest.reboot()
        second = guest.ask("cat", BOOT_ID)
        guest.cut_power()
        guest.start()
        third = guest.ask("cat", BOOT_ID)

        assert 3 == len({first, second, third})
        assert "here" == guest.ask("cat", "/root/kept")
        assert "" == guest.ask("systemctl", "--failed", "--no-legend")

    assert not (base / "root/kept").exists()


def test_a_guest_owns_its_controllers(base: Path) -> None:
    with boot(base) as guest:
        done = guest.run("systemd-run", "--wait", "--property=MemoryMax=30M", "python3", "-c", "b'x' * 10**8")

    assert done.returncode != 0
    assert "status=KILL" in done.stderr


def test_a_server_of_the_test_is_reached_at_the_guests_own_loopback(base: Path) -> None:
    with boot(base) as guest, guest.inside(lambda: socket.create_server(("169.254.169.254", 80))) as server:
        guest.ask("python3", "-c", "import socket; socket.create_connection(('169.254.169.254', 80)).send(b'hello')")
        connection, _ = server.accept()
        with connection:
            assert b"hello" == connection.recv(5)
