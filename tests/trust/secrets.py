"""`make secrets`: every hook by every transport, with failures, and where the real tools are, by them."""

from __future__ import annotations

import os

import pytest

from tests.conftest import require
from tests.fakes import Peer
from tests.process.guest import Guest
from tests.tools import install
from tests.trust.courses import HOOKS, TOOLS, prepare, through
from tests.trust.planted import TRANSPORTS


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nobody_finds_a_secret_by_any_hook_and_transport(transport: str, knowing: Guest, cloud: Peer) -> None:
    assert [] == through(knowing, cloud, transport, HOOKS, prepare(knowing))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_nobody_finds_a_secret_where_a_tool_has_it(transport: str, knowing: Guest, cloud: Peer) -> None:
    places = [install.directory("ansible"), install.directory("salt")]
    require(all(places) and install.puppet(), "needs ansible, salt and puppet: python -m tests.tools install")
    path = os.pathsep.join([*map(str, places), os.environ.get("PATH", os.defpath)])

    assert [] == through(knowing, cloud, transport, TOOLS, {**prepare(knowing), "PATH": path})
