"""What each source comes to, seen through `os-collect-config`."""

import json

import pytest

from tests.collect.conftest import Door
from tests.fakes import Peer, Reply


def test_of_equal_names_the_later_directory_wins(door: Door) -> None:
    (earlier := door.directory / "z").mkdir(mode=0o700)
    (earlier / "a").write_text("1")
    (later := door.directory / "b").mkdir(mode=0o700)
    (later / "a").write_text("2")

    done = door.run("local", "--local-path", str(earlier), "--local-path", str(later))

    assert {"a": 2} == json.loads(done.stdout)


def test_what_cloud_init_left_empty_makes_no_document(door: Door) -> None:
    (door.directory / "h").write_text("{}")

    done = door.run("heat_local", "--heat_local-path", str(door.directory / "h"))

    assert "{}\n" == done.stdout
    assert "Source [heat_local] Unavailable" in done.stderr


def test_the_tree_of_an_instance_is_asked_for_once(door: Door, peer: Peer) -> None:
    peer.answers |= {"/md/": Reply(200, b"ami-id"), "/md/ami-id": Reply(200, b"ami-1")}

    for _ in range(2):
        door.once("ec2", "--ec2-metadata-url", f"{peer.url}/md")
    peer.answers["/md/ami-id"] = Reply(200, b"ami-2")
    printed = door.run("ec2", "--ec2-metadata-url", f"{peer.url}/md")

    assert {"ec2": {"ami-id": "ami-1"}} == json.loads(printed.stdout)
    assert ["/md/", "/md/ami-id"] == [request.path for request in peer.requests]
    assert [["ec2.json"]] == door.ran()


def test_any_answer_of_success_is_a_document(door: Door, peer: Peer) -> None:
    peer.answers["/md"] = Reply(203, b'{"a": 1}')

    done = door.run("request", "--request-metadata-url", f"{peer.url}/md")

    assert {"request": {"a": 1}} == json.loads(done.stdout)


@pytest.mark.parametrize("name", ["", None])
def test_a_deployment_without_a_name_stays_in_its_document(door: Door, peer: Peer, name: str | None) -> None:
    said = {"deployments": [{"name": name, "config": 1}]}
    peer.answers["/md"] = Reply(200, json.dumps(said).encode())

    done = door.run("request", "--request-metadata-url", f"{peer.url}/md")

    assert {"request": said} == json.loads(done.stdout)
