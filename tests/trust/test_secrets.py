"""Twelve planted secrets through hooks, transports and failures: nobody finds one. `make secrets` takes every pair."""

from __future__ import annotations

import pytest

from tests.fakes import Peer
from tests.process.guest import Guest
from tests.trust import planted
from tests.trust.courses import HOOKS, prepare, through
from tests.trust.planted import PLANTED, TRANSPORTS, Watch
from tests.waiting import until

SHORT = {group: HOOKS[group] for group in ("script", "program")}


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nobody_finds_a_secret_on_the_way_to_the_cloud(transport: str, knowing: Guest, cloud: Peer) -> None:
    hooks = HOOKS if transport == "CFN_SIGNAL" else SHORT

    assert [] == through(knowing, cloud, transport, hooks, prepare(knowing))


def test_a_secret_that_stands_open_is_found(knowing: Guest) -> None:
    (knowing.root / "open").write_text(f"x{PLANTED['password']}x")
    (knowing.root / "open").chmod(0o644)
    knowing.root.chmod(0o755)
    watch = Watch(knowing.mark)
    asked = knowing.start("run", environment={"LEAK": PLANTED["auth token"]}, proxy=PLANTED["cfn key"])

    until(lambda: watch.look() or len(watch.leaks) >= 2, "both to be seen")
    asked.kill()

    assert ["password in open"] == planted.readable_by_all(knowing.root)
    assert {"auth token", "cfn key"} == {leak.partition(" in ")[0] for leak in watch.leaks}
    assert 12 == len(PLANTED)
