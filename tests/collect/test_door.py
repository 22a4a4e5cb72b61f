"""`os-collect-config` as people call it: the cache, the command, the settings, the daemon."""

import json
import os
import signal
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.collect.conftest import Door
from tests.collect.push import Push
from tests.collect.queue import Queue
from tests.fakes import Peer, Reply
from tests.waiting import LONGEST_S


def document(**content: object) -> Reply:
    return Reply(200, json.dumps(content).encode(), {"ETag": f'"{abs(hash(str(content)))}"'})


def deployments(*names: str) -> Reply:
    return document(deployments=[{"name": name, "config": {"of": name}} for name in names])


def url(peer: Peer) -> tuple[str, str]:
    return "--request-metadata-url", f"{peer.url}/md"


# ------------------------------------------------------------------------------------------------- the cache


def test_a_run_leaves_these_files_for_us_alone(door: Door) -> None:
    door.put("a", {"v": 1})

    done = door.once("local")

    assert 0 == done.returncode, done.stderr
    assert [["a.json"]] == door.ran()
    assert ["a.json", "a.json.last", "a.json.orig", "os_config_files.json"] == sorted(os.listdir(door.cache))
    assert '{\n "v": 1\n}' == (door.cache / "a.json").read_text()
    assert [f"{door.cache}/a.json"] == door.cached("os_config_files.json")
    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in door.cache.iterdir()}
    assert 0o700 == stat.S_IMODE(door.cache.stat().st_mode)
    assert ["a.json", "a.json.orig", "os_config_files.json"] == sorted(os.listdir(door.directory / "backup"))


def test_the_command_runs_for_a_change_only_and_orig_stays(door: Door) -> None:
    door.put("a", {"v": 1})
    for _ in range(2):
        door.once("local")
    door.put("a", {"v": 2})

    door.once("local")

    assert 2 == len(door.ran())
    assert [{"v": 2}, {"v": 2}, {"v": 1}] == [door.cached(f"a.json{suffix}") for suffix in ("", ".last", ".orig")]


def test_what_failed_is_run_again_and_its_status_is_ours(door: Door) -> None:
    door.put("a", {"v": 1})

    failed = door.run("local", "--one-time", "-c", f"{door.command}; exit 7")
    door.once("local")

    assert 7 == failed.returncode
    assert 2 == len(door.ran())


def test_a_command_that_was_killed_is_told_as_its_signal(door: Door) -> None:
    door.put("a", {})

    assert 247 == door.run("local", "--one-time", "-c", "kill -9 $$$$").returncode


@pytest.mark.parametrize("damage", ["", "{", "[1]", "\x00"])
def test_a_damaged_file_of_the_cache_is_written_anew(door: Door, damage: str) -> None:
    door.put("a", {"v": 1})
    door.once("local")
    for suffix in ("", ".last"):
        (door.cache / f"a.json{suffix}").write_text(damage)

    done = door.once("local")

    assert 0 == done.returncode, done.stderr
    assert [{"v": 1}, {"v": 1}] == [door.cached("a.json"), door.cached("a.json.last")]


@pytest.mark.parametrize("name", ["../../victim", "a/b", "a:b", "..", "os_config_files", "request", "x" * 300, "ä b"])
def test_a_deployment_takes_no_other_place_than_one_of_its_own(door: Door, peer: Peer, name: str) -> None:
    peer.answers["/md"] = deployments(name, "other")

    done = door.once("request", *url(peer))

    assert 0 == done.returncode, done.stderr
    [[first, second, third]] = door.ran()
    assert ["request.json", "other.json"] == [first, third]
    assert {"of": name} == door.cached(second)
    assert {"request.json", second, third} == {Path(path).name for path in door.cached("os_config_files.json")}  # type: ignore[attr-defined]
    assert {"cache", "backup", "ran"} >= {path.name for path in door.directory.iterdir()}
    assert door.once("request", *url(peer)).returncode == 0
    assert 1 == len(door.ran())


def test_what_no_source_lists_any_more_runs_the_command_and_is_removed(door: Door, peer: Peer) -> None:
    peer.answers["/md"] = deployments("d", "e")
    for name in ("a", "b"):
        door.put(name, {})
    door.once("local", "request", *url(peer))
    peer.answers["/md"] = deployments("e")
    (door.local / "b").unlink()

    failed = door.run("local", "request", *url(peer), "--one-time", "-c", "exit 1")
    done = door.once("local", "request", *url(peer))

    assert [1, 0] == [failed.returncode, done.returncode]
    assert ["a.json", "request.json", "e.json"] == door.ran()[-1]
    assert not [name for name in os.listdir(door.cache) if name.startswith(("b.", "d."))]


def test_another_source_does_not_remove_what_is_not_its_own(door: Door, peer: Peer) -> None:
    peer.answers["/md"] = deployments("d")
    door.put("a", {})
    door.once("request", *url(peer))

    door.once("local")

    assert (door.cache / "d.json.last").exists()
    assert [["request.json", "d.json"], ["a.json"]] == door.ran()


def test_a_source_that_is_down_keeps_its_files_in_their_place(door: Door, peer: Peer) -> None:
    peer.answers["/md"] = deployments("d")
    door.put("a", {"v": 1})
    door.once("request", "local", *url(peer))
    peer.answers["/md"] = Reply(503)
    door.put("a", {"v": 2})

    done = door.once("request", "local", *url(peer))

    assert "Source [request] Unavailable." in done.stderr
    assert ["request.json", "d.json", "a.json"] == door.ran()[-1]


def test_local_data_that_is_refused_keeps_its_files_too(door: Door) -> None:
    heat_local = door.directory / "h"
    heat_local.write_text('{"h": 1}')
    door.put("a", {"v": 1})
    arguments = ("heat_local", "local", "--heat_local-path", str(heat_local))
    door.once(*arguments)
    (door.local / "a").write_text("{")
    heat_local.write_text('{"h": 2}')

    door.once(*arguments)

    assert ["heat_local.json", "a.json"] == door.ran()[-1]
    assert {"v": 1} == door.cached("a.json")


# ------------------------------------------------------------------------------------------------- the queue


def of_queue(queue: Queue) -> list[str]:
    section = queue.section()["zaqar"]
    return ["zaqar", *(word for key, value in section.items() for word in (f"--zaqar-{key.replace('_', '-')}", value))]


def test_a_message_is_tried_again_until_its_command_succeeds_over_restarts(door: Door, queue: Queue) -> None:
    queue.held = [{"id": "m", "body": {"deployments": [{"name": "d", "config": 1}]}}]

    failed = door.run(*of_queue(queue), "--one-time", "-c", f"{door.command}; exit 1")
    left = list(queue.held)
    done = [door.once(*of_queue(queue)) for _ in range(2)]

    assert [1, 0, 0] == [failed.returncode, *(finished.returncode for finished in done)]
    assert [] == left
    assert [["zaqar.json", "d.json"]] * 2 == door.ran()


def test_printing_takes_nothing_from_a_queue(door: Door, queue: Queue) -> None:
    queue.held = [{"id": "m", "body": {"a": 1}}]

    done = door.run(*of_queue(queue), "--print")

    assert {"zaqar": {"a": 1}} == json.loads(done.stdout)
    assert 1 == len(queue.held)


@pytest.mark.parametrize(("flag", "told"), [("--zaqar-use-websockets", True), ("--zaqar-nouse-websockets", False)])
def test_a_push_ends_the_pause_where_that_is_asked_for(door: Door, queue: Queue, flag: str, told: bool) -> None:
    queue.expires_at = "2999-01-01T00:00:00Z"
    slow = ("--polling-interval", "600", "--min-polling-interval", "600")
    with closing(Push()) as push:
        queue.push_url = push.url
        queue.held = [{"id": "m", "body": {"a": 1}}]

        with door.daemon(*of_queue(queue), "-c", door.command, flag, *slow):
            door.wait_ran(1)
            door.wait(lambda: not queue.held, "deletion")
            assert told == push.subscribed.wait(LONGEST_S if told else 0.5)
            queue.held = [{"id": "n", "body": {"a": 2}}]
            push.push({})
            if told:
                door.wait_ran(2)

    assert {"a": 1 + told} == door.cached("zaqar.json")


# ------------------------------------------------------------------------------------------------ the settings


def test_without_a_command_it_prints_and_stores_nothing(door: Door) -> None:
    door.put("b", [1])
    door.put("B.json", {"x": 1})

    done = door.run("local")

    assert '{\n "B.json": {\n  "x": 1\n },\n "b": [\n  1\n ]\n}\n' == done.stdout
    assert not door.cache.exists()


def test_flags_may_be_spelled_with_dashes_or_underscores(door: Door) -> None:
    (door.directory / "h").write_text('{"h": 1}')

    said = [
        door.run("heat_local", flag, str(door.directory / "h"), "--zaqar-nouse-websockets", "--noforce").stdout
        for flag in ("--heat_local-path", "--heat-local-path", "--heat_local_path")
    ]

    assert ['{\n "heat_local": {\n  "h": 1\n }\n}\n'] * 3 == said


def test_flags_win_over_the_environment_and_that_over_files(door: Door) -> None:
    def ran(*arguments: str, **variables: str) -> str:
        (door.directory / "ran").unlink(missing_ok=True)
        door.run("local", "--config-file", str(door.directory / "c"), "--force", *arguments, **variables)
        return (door.directory / "ran").read_text().strip()

    def says(word: str) -> str:
        return f"echo {word} > {door.directory}/ran"

    (door.directory / "c").write_text(f"[DEFAULT]\ncommand = {says('file')}\n")

    assert "file" == ran()
    assert "environment" == ran(OS_DEFAULT__COMMAND=says("environment"))
    assert "flag" == ran("-c", says("flag"), OS_DEFAULT__COMMAND=says("environment"))


def test_a_file_of_the_cache_that_others_may_read_is_closed(door: Door) -> None:
    door.put("a", {})
    door.once("local")
    (door.cache / "a.json").chmod(0o644)

    door.once("local")

    assert 0o600 == (door.cache / "a.json").stat().st_mode & 0o777


def test_a_cache_that_cannot_be_made_is_one_line_and_1(door: Door) -> None:
    door.put("a", {})
    door.cache.write_text("a file")

    done = door.once("local")

    assert 1 == done.returncode
    assert done.stderr.startswith(f"os-collect-config: making the directory {door.cache}: ")


def test_a_log_that_cannot_be_opened_stops_nothing(door: Door) -> None:
    door.put("a", {})

    done = door.once("local", "--log-dir", "/no/such/place")

    assert (0, [["a.json"]]) == (done.returncode, door.ran())
    assert "/no/such/place/os-collect-config.log" in done.stderr
    assert "running the command" in done.stderr


def test_files_of_the_usual_places_add_up(door: Door) -> None:
    (door.directory / "os-collect-config.conf").write_text(
        f"[DEFAULT]\ncollectors = local\ncommand = echo $$OS_CONFIG_FILES $cachedir >> {door.directory}/seen\n"
        "one-time = true\n[request]\nmetadata_url =\n"
    )
    directory = door.directory / "os-collect-config.conf.d"
    directory.mkdir()
    (directory / "b.conf").write_text(
        f"[DEFAULT]\ncollectors = heat_local\n[heat-local]\n[heat_local]\npath={directory}/h"
    )
    (directory / "h").write_text('{"h": 1}')
    door.put("a", {})

    done = door.run()

    assert 0 == done.returncode, done.stderr
    files = f"{door.cache}/a.json:{door.cache}/heat_local.json"
    assert f"{files} {door.cache}\n" == (door.directory / "seen").read_text()


def test_what_names_no_setting_is_the_shells(door: Door) -> None:
    door.put("a", {})

    door.run("local", "--one-time", "-c", f'echo "$HOME ${{HOME}} $$" > {door.directory}/seen')

    assert f"{door.directory} {door.directory} $\n" == (door.directory / "seen").read_text()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nonesuch"], 1, "os-collect-config: no such source: nonesuch; known: heat_local"),
        (["--config-file", "/nowhere"], 1, "reading the settings: "),
        (["--config-dir", "/nowhere"], 1, "/nowhere of --config-dir"),
        (["--polling-interval", "soon"], 2, "invalid"),
        (["--nonesuch"], 2, "unrecognized arguments"),
    ],
)
def test_a_wrong_call_is_one_line_and_a_status(door: Door, arguments: list[str], status: int, said: str) -> None:
    done = door.run(*arguments)

    assert (status, "") == (done.returncode, done.stdout)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_list_of_sources_in_json_is_understood(door: Door) -> None:
    (door.directory / "c").write_text('[DEFAULT]\ncollectors = ["local", "heat_local"]\n')
    door.put("a", {})

    done = door.run("--config-file", str(door.directory / "c"))

    assert {"a": {}} == json.loads(done.stdout)


def test_it_works_without_a_path(door: Door) -> None:
    door.put("ä", {"ö": "ü"})

    done = door.run("local", "--one-time", "-c", "exit 3", PATH="")

    assert 3 == done.returncode, done.stderr
    assert {"ö": "ü"} == door.cached("ä.json")


def test_a_log_is_lines_of_json_in_a_file_where_that_is_asked_for(door: Door) -> None:
    door.put("a", {})

    done = door.once("local", "request", "--use-json", "--debug", "--log-dir", str(door.directory))

    lines = [json.loads(line) for line in (door.directory / "os-collect-config.log").read_text().splitlines()]
    assert "Source [request] Unavailable." in [line["event"] for line in lines]
    assert door.command in [line.get("command") for line in lines]
    assert "" == done.stderr


# -------------------------------------------------------------------------------------------------- the daemon


def test_the_daemon_follows_changes_and_asks_conditionally(door: Door, peer: Peer) -> None:
    peer.answers["/md"] = [document(v=1), Reply(304)]

    with door.daemon("request", *url(peer), "-c", door.command):
        door.wait_ran(1)
        door.wait(lambda: len(peer.requests) > 2, "third poll")
        peer.answers["/md"] = document(v=2)
        door.wait_ran(2)
        door.wait(lambda: {"v": 2} == door.cached("request.json.last"), "commit")

    assert {"GET"} == {request.method for request in peer.requests}
    assert peer.requests[1].headers["if-none-match"]


def test_hangup_reads_the_settings_again_also_after_a_command(door: Door, peer: Peer) -> None:
    peer.answers["/md"] = document(q=1)
    settings = door.directory / "c.conf"
    settings.write_text("[DEFAULT]\ncollectors = local\n")
    door.put("a", {})
    arguments = ("--config-file", str(settings), *url(peer), "-c", door.command, "--polling-interval", "600")

    with door.daemon(*arguments, "--min-polling-interval", "600") as daemon:
        door.wait_ran(1)
        door.wait((door.cache / "a.json.last").exists, "commit")
        door.write(settings, "[DEFAULT]\ncollectors = local\ncollectors = request\n")
        daemon.send_signal(signal.SIGHUP)
        door.wait_ran(2)

    assert [["a.json"], ["a.json", "request.json"]] == door.ran()


def test_a_command_that_changes_the_settings_is_run_with_the_new_ones(door: Door) -> None:
    (door.directory / "h").write_text('{"h": 1}')
    door.put("a", {})
    text = f"[DEFAULT]\\ncollectors = local\\ncollectors = heat_local\\n[heat_local]\\npath = {door.directory}/h\\n"
    command = f"{door.command}; printf '{text}' > {door.directory}/os-collect-config.conf"

    with door.daemon("-c", command, "--ec2-metadata-url", "http://127.0.0.1:9/"):
        door.wait_ran(2)

    assert ["a.json", "heat_local.json"] == door.ran()[1]


def test_broken_settings_leave_the_old_ones(door: Door) -> None:
    settings = door.directory / "c.conf"
    settings.write_text("[DEFAULT]\ncollectors = local\n")
    door.put("a", {"v": 1})

    with door.daemon("--config-file", str(settings), "-c", door.command) as daemon:
        door.wait_ran(1)
        door.write(settings, "[DEFAULT]\ncollectors = nonesuch\n")
        door.wait(lambda: "settings not taken over" in (door.directory / "said").read_text(), "complaint")
        door.put("a", {"v": 2})
        door.wait_ran(2)
        assert daemon.poll() is None

    assert 1 == (door.directory / "said").read_text().count("settings not taken over")


def test_the_daemon_outlives_a_disk_that_fails(door: Door) -> None:
    door.put("a", {})
    door.cache.write_text("a file where the directory should be")

    with door.daemon("local", "-c", door.command) as daemon:
        door.wait(lambda: "cache cannot be kept" in (door.directory / "said").read_text(), "complaint")
        assert daemon.poll() is None
        door.cache.unlink()
        door.wait_ran(1)
