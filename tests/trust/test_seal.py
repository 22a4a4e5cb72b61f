"""Secrets of a deployment that is not done yet, sealed with the key that the guest was given."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from agent import keeping, seal
from agent.errors import SettingsError
from agent.keeping import Need
from agent.seal import Seal
from agent.settings import Settings
from tests.process.endpoint import Endpoint, answering
from tests.process.guest import Guest
from tests.trust.resting import SIGNATURE, deployment, found

KEY, OTHER = os.urandom(32), os.urandom(32)
VALUES: dict[str, Any] = {"value": {"a": [1, None, "\u00e4"]}, "default": "d"}


def test_what_was_sealed_opens_with_its_key_in_its_place() -> None:
    sealed = Seal(KEY).close("d1", "db_password", VALUES)

    assert VALUES == Seal(KEY).open("d1", "db_password", sealed)
    assert sealed != Seal(KEY).close("d1", "db_password", VALUES)


@pytest.mark.parametrize(
    ("key", "deployment", "name"),
    [(OTHER, "d1", "db_password"), (KEY, "d2", "db_password"), (KEY, "d1", "deploy_password")],
    ids=["another-key", "another-deployment", "another-input"],
)
def test_elsewhere_it_does_not_open(key: bytes, deployment: str, name: str) -> None:
    sealed = Seal(KEY).close("d1", "db_password", VALUES)

    assert Seal(key).open(deployment, name, sealed) is None


def test_nothing_of_it_can_be_changed_cut_or_invented() -> None:
    sealed = base64.b64decode(Seal(KEY).close("d1", "db_password", VALUES))
    flipped = [sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :] for at in range(len(sealed))]
    cut = [sealed[:length] for length in range(len(sealed))]
    texts = [base64.b64encode(data).decode() for data in [*flipped, *cut, sealed + b"\0", os.urandom(60)]]

    assert {None} == {Seal(KEY).open("d1", "db_password", text) for text in [*texts, "", "no base64", "\u00e4"]}


def document(*names: str) -> dict[str, Any]:
    inputs = [{"name": "db_password", "type": "String", "value": f"secret of {name}"} for name in names]
    pairs = zip(names, inputs, strict=True)
    return {"deployments": [{"id": name, "name": name, "inputs": [given]} for name, given in pairs], "plain": [1]}


def test_values_that_were_swapped_in_a_document_stay_sealed() -> None:
    made = Seal(KEY)
    kept: Any = keeping.form(document("one", "two"), lambda _key: Need.HOOK, made.close)
    one, two = kept["deployments"]
    one["inputs"], two["inputs"] = two["inputs"], one["inputs"]

    opened = keeping.opened(kept, made.open)

    assert (2, False) == (keeping.sealed(opened), keeping.whole(opened))


def test_a_sealed_document_opens_to_what_it_was_and_says_nothing_before() -> None:
    content, made = document("one", "two"), Seal(KEY)

    kept = keeping.form(content, lambda _key: Need.HOOK, made.close)

    assert "secret of" not in json.dumps(kept)
    assert content == keeping.opened(kept, made.open)
    assert (True, False) == (keeping.unsealed(content), keeping.unsealed(kept))


@pytest.mark.parametrize(("content", "why"), [(b"short", "5 bytes; at least 32"), (None, "No such file")])
def test_a_key_that_cannot_be_used_is_an_error_of_the_settings(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(SettingsError, match=why):
        seal.load(Settings(seal_key=str(path)), {})


def test_the_services_credential_is_the_key_where_there_is_one(tmp_path: Path) -> None:
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert seal.load(Settings(), environ) is None
    (tmp_path / "os-deploy-agent.key").write_bytes(KEY)

    made = seal.load(Settings(), environ)

    assert made is not None
    assert VALUES == Seal(KEY).open("d1", "a", made.close("d1", "a", VALUES))


@pytest.fixture
def unsent(guest: Guest, endpoint: Endpoint) -> Guest:
    """A guest with a key, whose hook has run and whose outcome nobody took."""
    path = guest.root / "key"
    path.write_bytes(KEY)
    guest.flags |= {"seal_key": "/key"}
    endpoint.serve(deployment(endpoint, "web"))
    endpoint.spoil = answering(503)
    assert 2 == guest.once(once_patience="0").status
    assert {} == found(guest)
    endpoint.spoil = lambda _request, _name: False
    return guest


def test_an_outcome_is_told_by_what_was_sealed(unsent: Guest, endpoint: Endpoint) -> None:
    ended = unsent.once()

    assert (0, 1, {}) == (ended.status, len(endpoint.of("web")), found(unsent))


@pytest.mark.parametrize("key", [OTHER, None], ids=["another-key", "no-key"])
def test_without_its_key_it_waits_for_the_source_and_is_told_then(
    unsent: Guest, endpoint: Endpoint, key: bytes | None
) -> None:
    if key:
        (unsent.root / "key").write_bytes(key)
    else:
        del unsent.flags["seal_key"]
    endpoint.metadata_status = 500
    without = unsent.once(once_patience="0")
    endpoint.metadata_status = 200
    again = unsent.once()

    [event] = without.events("sealed values cannot be opened, their source is asked for them again")
    assert ("another key" if key else "there is no key") in event["reason"]
    assert (2, 0, ["ran"]) == (without.status, again.status, unsent.seen())
    assert (1, {}) == (len(endpoint.of("web")), found(unsent))


def test_a_key_given_later_seals_what_is_there(guest: Guest, endpoint: Endpoint) -> None:
    endpoint.serve(deployment(endpoint, "web"))
    endpoint.spoil = answering(503)
    guest.once(once_patience="0")
    assert found(guest, [SIGNATURE])
    (guest.root / "key").write_bytes(KEY)

    guest.once(once_patience="0", seal_key="/key")

    assert {} == found(guest)
