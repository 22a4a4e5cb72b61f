"""What is kept of a stream, and what a hook does not inherit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import process
from agent.process import Kept


def keep(chunks: list[bytes], limit: int) -> Kept:
    kept = Kept(limit)
    for chunk in chunks:
        kept.add(chunk)
    return kept


CHUNKS = st.lists(st.binary(max_size=300), max_size=30)


@given(CHUNKS, st.integers(2, 400))
def test_a_stream_within_the_limit_is_kept_whole_and_a_longer_one_by_head_and_tail(
    chunks: list[bytes], limit: int
) -> None:
    stream, half = b"".join(chunks), limit // 2

    kept = keep(chunks, limit)

    assert len(stream) == kept.total
    assert max(len(stream) - 2 * half, 0) == kept.cut
    if not kept.cut:
        assert stream == kept.bytes()
    else:
        note = b"\n[... %d bytes cut here, see the log on the guest ...]\n" % kept.cut
        assert stream[:half] + note + stream[-half:] == kept.bytes()


@given(CHUNKS, st.integers(2, 400))
def test_how_a_stream_came_in_pieces_makes_no_difference(chunks: list[bytes], limit: int) -> None:
    assert keep([b"".join(chunks)], limit).bytes() == keep(chunks, limit).bytes()


def test_memory_is_bounded_whatever_is_printed() -> None:
    kept = keep([b"x" * 70_000] * 500, 100_000)

    assert len(kept.bytes()) < 100_100
    assert 35_000_000 == kept.total


def test_what_is_no_utf8_is_kept_readable() -> None:
    assert "caf\ufffd" == keep([b"caf\xe9"], 100).text()


@pytest.mark.parametrize("name", ["NOTIFY_SOCKET", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "PYTHONPATH"])
def test_what_belongs_to_our_own_service_is_not_inherited(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "ours")

    assert name not in process.environment({})


def test_a_hook_has_a_path_a_locale_a_home_and_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "LANG", "HOME"):
        monkeypatch.delenv(name, raising=False)

    made = process.environment({"deploy_action": "CREATE"})

    assert {"PATH": process.DEFAULT_PATH, "LANG": "C.UTF-8", "deploy_action": "CREATE"}.items() <= made.items()
    assert made["HOME"]


def test_what_an_input_says_wins_over_what_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLOR", "red")

    assert "blue" == process.environment({"COLOR": "blue"})["COLOR"]
