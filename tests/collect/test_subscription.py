"""A push rings, and the queue is read at once."""

import json
import select
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agent.identity import Tokens
from agent.settings import Given, Settings
from agent.subscription import FIRST_PAUSE_S, TTL_S, Subscription
from agent.transport import Client
from tests.collect.push import Push
from tests.collect.queue import NAME, RECORDED, Queue
from tests.waiting import LONGEST_S, until

NOW = 1_795_220_000.0  # a minute in which the recorded token was good
NOTICE = {"deployments": []}


@pytest.fixture
def push() -> Iterator[Push]:
    made = Push()
    yield made
    made.close()


@pytest.fixture
def settings(queue: Queue, push: Push, root: Path) -> Settings:
    """Of a guest whose catalogue names the websocket service."""
    queue.push_url = push.url
    return Given(root).settings(queue.section())


@pytest.fixture
def tokens(client: Client) -> Tokens:
    return Tokens(client, lambda: NOW)


@pytest.fixture
def subscription() -> Iterator[Subscription]:
    made = Subscription()
    yield made
    made.close()


def rings(subscription: Subscription) -> bool:
    return bool(select.select([subscription], [], [], LONGEST_S)[0]) and subscription.take(NOW)


def test_it_signs_in_subscribes_and_rings(
    push: Push, settings: Settings, tokens: Tokens, subscription: Subscription
) -> None:
    began = subscription.tend(settings, tokens, NOW)
    push.push(NOTICE)

    assert began
    assert rings(subscription)
    assert not subscription.take(NOW)
    authenticate, subscribe = push.asked
    assert ["authenticate", "subscription_create"] == [authenticate["action"], subscribe["action"]]
    assert RECORDED["bootstrap"]["zaqar"]["project_id"] == authenticate["headers"]["X-Project-ID"]
    assert {"queue_name": NAME, "ttl": 3600} == subscribe["body"]
    assert subscribe["headers"]["Client-ID"]


def test_it_is_renewed_before_it_ends_and_not_earlier(
    push: Push, settings: Settings, tokens: Tokens, subscription: Subscription
) -> None:
    subscription.tend(settings, tokens, NOW)

    again = [subscription.tend(settings, tokens, NOW + later) for later in (1.0, TTL_S / 2, TTL_S - 1)]

    assert [False, False, True] == again
    assert 4 == len(push.asked)


def test_a_connection_that_breaks_rings_once_and_is_made_again_later(
    push: Push, settings: Settings, tokens: Tokens, subscription: Subscription
) -> None:
    subscription.tend(settings, tokens, NOW)
    push.hang_up()

    assert rings(subscription)
    assert -1 == subscription.fileno()
    assert not subscription.tend(settings, tokens, NOW + 1)
    assert subscription.tend(settings, tokens, NOW + FIRST_PAUSE_S + 1)


@pytest.mark.parametrize("action", ["authenticate", "subscription_create"])
def test_a_refusal_leaves_polling_and_is_not_repeated_at_once(
    push: Push, settings: Settings, tokens: Tokens, subscription: Subscription, action: str
) -> None:
    push.refused[action] = 403

    began = [subscription.tend(settings, tokens, NOW + later) for later in (0.0, 1.0)]

    assert [False, False] == began
    assert -1 == subscription.fileno()
    assert 1 == [request["action"] for request in push.asked].count(action)


def test_a_catalogue_without_the_service_leaves_polling(
    queue: Queue, settings: Settings, tokens: Tokens, subscription: Subscription
) -> None:
    queue.push_url = ""

    assert not subscription.tend(settings, tokens, NOW)
    assert json.dumps(RECORDED).count("messaging-websocket") == 0


@pytest.mark.parametrize("named", [True, False])
def test_a_service_by_tls_is_believed_when_its_authority_is_named_and_not_otherwise(
    queue: Queue, tokens: Tokens, subscription: Subscription, root: Path, authority: Path, named: bool
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    flags = {"zaqar.ca_file": str(authority / "ca.pem")} if named else {}

    with closing(Push(context)) as push:
        queue.push_url = push.url
        began = subscription.tend(Given(root, flags).settings(queue.section()), tokens, NOW)

        assert (named, named) == (began, bool(push.asked))


def test_a_guest_without_a_queue_connects_nowhere(
    push: Push, tokens: Tokens, subscription: Subscription, root: Path
) -> None:
    assert not subscription.tend(Given(root).settings(), tokens, NOW)
    assert [] == push.asked


def test_the_daemon_reads_the_queue_as_soon_as_it_is_pushed(
    queue: Queue, push: Push, root: Path, agent_command: list[str], environment: dict[str, str]
) -> None:
    queue.push_url = push.url
    queue.held = [{"id": "first", "body": {"n": 1}}]
    data = root / "var/lib/heat-cfntools/cfn-init-data"
    data.parent.mkdir(parents=True)
    data.write_text(json.dumps({"os-collect-config": queue.section()}))
    slow = ["--polling-interval", "600", "--min-polling-interval", "600"]
    kept = root / "var/lib/os-deploy-agent/documents/zaqar.json"

    with (
        (root / "said").open("wb") as said,
        subprocess.Popen([*agent_command, "--root", str(root), *slow, "run"], env=environment, stderr=said) as agent,
    ):
        try:
            assert push.subscribed.wait(LONGEST_S), (root / "said").read_text()
            until(lambda: len(polls(queue)) > 1, "the poll that follows a new subscription")
            until(lambda: kept.exists() and not queue.held, "the first message to be taken")
            queue.held = [{"id": "second", "body": {"n": 2}}]
            push.push({"n": 2})
            until(lambda: {"n": 2} == json.loads(kept.read_text())["content"], "the second, long before the next poll")
        finally:
            agent.terminate()

    assert 0 == agent.returncode


def polls(queue: Queue) -> list[str]:
    return [asked for asked in queue.asked if asked.startswith("GET") and "marker" not in asked]
