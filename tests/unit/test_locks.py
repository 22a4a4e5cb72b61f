"""Who looks whether a lock is held must not keep its owner from it."""

import fcntl
import os
import threading
from pathlib import Path

from agent import state


def test_a_lock_that_nobody_holds_is_not_held(tmp_path: Path) -> None:
    lock = state.try_lock(tmp_path / "lock")
    assert lock is not None
    assert state.held(tmp_path / "lock")

    lock.release()

    assert not state.held(tmp_path / "lock")
    assert not state.held(tmp_path / "never made")


def test_many_may_look_at_once(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    looker = os.open(path, os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)

    assert not state.held(path)
    os.close(looker)


def test_a_lock_is_had_although_somebody_was_just_looking(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    path.touch()
    looker = os.open(path, os.O_RDONLY)
    fcntl.flock(looker, fcntl.LOCK_SH)
    leave = threading.Timer(0.3, os.close, (looker,))
    leave.start()

    lock = state.try_lock(path)

    leave.join()
    assert lock is not None
    lock.release()


def test_a_lock_that_is_really_held_is_not_had(tmp_path: Path) -> None:
    held = state.try_lock(tmp_path / "lock")
    assert held is not None

    assert state.try_lock(tmp_path / "lock") is None
    held.release()
