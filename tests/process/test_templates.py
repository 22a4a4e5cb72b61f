"""Groups that no tool of their own serves: applying the guest's templates answers them."""

from __future__ import annotations

import pytest

from tests.process.endpoint import Endpoint
from tests.process.guest import Guest

TREE = "usr/libexec/os-apply-config/templates"


@pytest.mark.parametrize("group", ["os-apply-config", "Heat::Ungrouped"])
def test_the_templates_of_the_guest_are_applied_and_that_is_the_outcome(
    guest: Guest, endpoint: Endpoint, group: str
) -> None:
    template = guest.root / TREE / "etc/motd"
    template.parent.mkdir(parents=True)
    template.write_text("welcome to {{place}}\n")
    endpoint.serve({**endpoint.script("data", ""), "group": group, "config": {"any": "thing"}}, place="the guest")

    done = guest.once()

    [sent] = endpoint.signals
    assert (0, "COMPLETE") == (done.status, sent.judged)
    assert "welcome to the guest\n" == (guest.root / "etc/motd").read_text()


def test_a_template_that_cannot_be_rendered_fails_the_deployment_and_changes_nothing(
    guest: Guest, endpoint: Endpoint
) -> None:
    tree = guest.root / TREE
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/good").write_text("fine\n")
    (tree / "etc/broken").write_text("{{#never closed}}\n")
    endpoint.serve({**endpoint.script("data", ""), "group": "os-apply-config", "config": {}})

    done = guest.once()

    [sent] = endpoint.signals
    assert (1, "FAILED") == (done.status, sent.judged)
    assert "etc/broken" in sent.body["deploy_stderr"]
    assert not (guest.root / "etc/good").exists()
