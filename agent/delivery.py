"""Outcomes on their way to their endpoints: each is sent once per look, and what came of it is recorded."""

from __future__ import annotations

from collections.abc import Callable

from agent import log, model, parse, signaller
from agent.errors import AgentError, Refused, SettingsError, Unavailable
from agent.journal import Journal
from agent.metadata import Metadata
from agent.model import Deployment

FIRST_RETRY_S = 1.0


class Delivery:
    """Sends what the journal holds. `failed` are the keys of outcomes that told of a failure, since the start."""

    def __init__(
        self,
        journal: Journal,
        metadata: Metadata,
        clock: Callable[[], float],
        jitter: Callable[[float, float], float],
    ) -> None:
        self.failed: set[str] = set()
        self._journal = journal
        self._metadata = metadata
        self._clock = clock
        self._jitter = jitter
        self._taken: list[str] = []

    def send(self, deployment: Deployment) -> None:
        """Send a stored outcome once. That an endpoint took it is recorded by `record`, everything else at once."""
        key = deployment.key
        body = self._journal.outcome(key)
        if parse.status_from(body.get("deploy_status_code")) or model.failing_outputs(deployment, body):
            self.failed.add(key)
        if deployment.endpoint.lost:
            self._try_later(deployment, Unavailable(_not_at_hand(deployment), sent=False), 0.0)
            return
        if not deployment.endpoint.wanted:
            self._journal.settle(key, model.SIGNALLED, "nobody waits for a signal")
            return
        settings = self._metadata.settings
        try:
            known = self._metadata.connection(signaller.SECTIONS.get(deployment.endpoint.transport, ""))
            signaller.send(deployment.endpoint, model.told(body), known.client, known.tokens, signaller.own(settings))
        except Refused as exc:
            if exc.final:
                self._journal.settle(key, model.REFUSED, str(exc))
                log.error("outcome refused for good", deployment=deployment.id, reason=str(exc))
            else:
                self._try_later(deployment, exc, 0.0)
        except Unavailable as exc:
            self._try_later(deployment, exc, exc.retry_after_s)
        except SettingsError as exc:
            self._try_later(deployment, exc, 0.0)
        else:
            self._taken.append(key)
            log.info("outcome signalled", deployment=deployment.id, status=body.get("deploy_status_code"))

    def record(self) -> None:
        """Record what endpoints took since the last time."""
        taken, self._taken = self._taken, []
        for key in taken:
            self._journal.settle(key, model.SIGNALLED)

    def _try_later(self, deployment: Deployment, exc: AgentError, at_least_s: float) -> None:
        settings = self._metadata.settings
        entry, now = self._journal.entry(deployment.key), self._clock()
        if entry.received_at and now - entry.received_at > settings.signal_patience + settings.hook_timeout:
            self._journal.settle(deployment.key, model.REFUSED, f"given up: {exc}")
            log.error("outcome given up", deployment=deployment.id, reason=str(exc))
            return
        longest = min(FIRST_RETRY_S * 2.0 ** min(entry.tries, 30), settings.signal_backoff)
        wait = max(at_least_s, self._jitter(longest / 2, longest))
        self._journal.tried(deployment.key, str(exc), now + wait)
        log.warning("outcome not taken", deployment=deployment.id, again_in_s=round(wait, 1), reason=str(exc))


def _not_at_hand(deployment: Deployment) -> str:
    names, source = ", ".join(deployment.endpoint.lost), deployment.source
    why = f"this guest keeps the values of {names} no more, or cannot unseal them"
    return f"signalling '{deployment.name}': {why}; source {source} may say them again, else update the deployment"
