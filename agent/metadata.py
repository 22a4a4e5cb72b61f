"""The metadata as the agent knows it: the settings it gives, the last good document of each source, who asks for it.

A source that fails keeps its place and its last good documents, also over a restart; nothing here decides what is done.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from agent import collectors, documents, keeping, log, merge, parse, tls, transport
from agent.collectors import COLLECTORS
from agent.documents import Shelf
from agent.errors import AgentError, Gone, MetadataError, Refused, SettingsError, Unavailable
from agent.identity import Tokens
from agent.model import Deployment, Document, JsonMap
from agent.parse import Parsed
from agent.plan import unique
from agent.settings import Given, Settings
from agent.state import Places
from agent.tls import Tls
from agent.transport import Client

OVERLAY = "os-collect-config"
GONE_AFTER = 2  # answers in a row that the stack does not exist, before its deployments count as withdrawn


@dataclass(frozen=True, slots=True)
class Answer:
    """What asking one source came to: new content, the same as before, or why there was none."""

    changed: bool = False
    fault: AgentError | None = None


@dataclass(frozen=True, slots=True)
class Connection:
    """How servers are talked to: a client, and who we are to them."""

    client: Client
    tokens: Tokens


class Metadata:
    """What the sources have said so far, and the settings that follow from it."""

    def __init__(
        self,
        given: Given,
        clock: Callable[[], float],
        alive: Callable[[], object] = lambda: None,
        shelf: Shelf | None = None,
    ) -> None:
        self.given = given
        self._alive = alive
        self.settings = given.settings()
        self._given_collectors = self.settings.collectors
        self.documents: dict[str, tuple[Document, ...]] = {}
        self.faults: dict[str, str] = {}
        self.named: tuple[str, ...] = ()
        self._shelf = shelf or documents.Disk(places(self.settings))
        self._partial: set[str] = set()  # sources of which the disk did not keep everything
        self._parsed: dict[str, Parsed] = {}
        self._gone: dict[str, int] = {}
        self._connections: dict[Tls, Connection] = {}
        self._answered: set[str] = set()
        self._clock = clock

    def open(self) -> None:
        """Read the documents that an earlier agent kept."""
        for document in self._shelf.kept():
            self.documents[document.source] = (*self.documents.get(document.source, ()), document)
            if not keeping.whole(document.content):
                self._partial.add(document.source)
        self._overlay()
        self.names()

    def collect(self, sources: Collection[str] | None = None) -> Mapping[str, Answer]:
        """Fetch from the configured sources among `sources`; one that an answer configures is asked at once, too."""
        answers: dict[str, Answer] = {}
        waiting = [name for name in self.names() if sources is None or name in sources]
        while waiting:
            name = waiting.pop(0)
            answers[name] = self._ask(name)
            if answers[name].changed and self._overlay():
                waiting = [name for name in self.names() if name not in answers]
        for gone in self.faults.keys() - set(self.named):  # nobody asks it any more
            del self.faults[gone]
        return answers

    def names(self) -> tuple[str, ...]:
        """The collectors that have somebody to ask, in order; cloud-init's files first: they configure the rest.

        A name that no collector has is among them, and fails when it is asked: a misspelt source is not passed over.

        It looks at the disk. What follows from that look within a cycle takes `named`.
        """
        named = dict.fromkeys((*(n for n in self._given_collectors if n == "heat_local"), *self.settings.collectors))
        self.named = tuple(n for n in named if n not in COLLECTORS or COLLECTORS[n].configured(self.settings))
        return self.named

    def disown(self, files: Collection[Path]) -> None:
        """Let these settings files not count: they are another machine's."""
        self.given = replace(self.given, left_out=frozenset(map(str, files)))
        self.settings = self.given.settings()
        self._given_collectors = self.settings.collectors

    def reload(self) -> None:
        """Read the settings files again; a faulty one leaves everything as it was."""
        try:
            given = self.given.reread()
            self._given_collectors = given.settings().collectors
        except SettingsError as exc:
            log.error("settings not taken over", reason=str(exc))
            return
        self.given = given
        self._overlay()
        self._connections.clear()  # their limits may be others now
        self._parsed.clear()  # by another deployment_key

    def reload_changed(self) -> bool:
        """Read the settings files again if they say something else than before; whether they did."""
        try:
            if self.given.reread() == self.given:
                return False
        except SettingsError as exc:
            log.error("settings not taken over", reason=str(exc))
            return False
        self.reload()
        log.info("settings read again")
        return True

    def connection(self, section: str) -> Connection:
        """The connection by the certificates of a source; sources that have the same ones share it."""
        certificates = tls.files(self.settings, section)
        if certificates not in self._connections:
            client = transport.client(self.settings, section, before=self._alive)
            self._connections[certificates] = Connection(client, Tokens(client, self._clock))
        return self._connections[certificates]

    def certificates(self) -> dict[str, float]:
        """When certificates end, as far as we have met them: those of servers by address, our own by file."""
        ends: dict[str, float] = {}
        for section in ("", *self.named):
            ends |= tls.ends_of(tls.files(self.settings, section))
        for connection in self._connections.values():
            ends |= connection.client.ends
        return ends

    def _ask(self, name: str) -> Answer:
        previous = self.documents.get(name, ())
        collector = COLLECTORS.get(name)
        if not self._shelf.lasting and getattr(collector, "MOUNTS", False):
            return Answer()
        try:
            if collector is None:
                raise SettingsError(collectors.unknown(name))
            connection = self.connection(name)
            asked_with = _unvalidated(previous) if name in self._partial else previous
            found = collector.collect(self.settings, connection.client, connection.tokens, asked_with)
            if _emptied(name, previous, found):
                raise MetadataError(f"polling {name}: its document has become an empty object, which Heat never sends")
        except (Unavailable, Refused, MetadataError, SettingsError) as exc:
            self.faults[name] = str(exc)
            log.warning("source unavailable", source=name, reason=str(exc), kept=len(previous))
            if not self._gone_for_good(name, exc) or not self._listing(previous):
                return Answer(fault=exc)
            log.error("the stack is gone, nothing it listed is wanted", source=name)
            found = tuple(self._without_deployments(document) for document in previous)
        else:
            self.faults.pop(name, None)
            self._gone.pop(name, None)
            self._answered.add(name)
        if _digests(found) == _digests(previous):
            self._complete(name, found)
            self._acknowledge(name, found)
            return Answer()
        self._keep(name, previous, tuple(replace(document, fetched_at=self._clock()) for document in found))
        self._acknowledge(name, found)
        log.info("source changed", source=name, documents=len(found))
        return Answer(changed=True)

    def _gone_for_good(self, name: str, fault: AgentError) -> bool:
        """Whether a source has said often enough that its stack does not exist; one such answer may be a mishap."""
        self._gone[name] = self._gone.get(name, 0) + 1 if isinstance(fault, Gone) else 0
        return self._gone[name] >= GONE_AFTER

    def _listing(self, documents: tuple[Document, ...]) -> bool:
        return any(document.content.get(key) for document in documents for key in self.settings.deployment_key)

    def _without_deployments(self, document: Document) -> Document:
        emptied: JsonMap = {key: [] for key in self.settings.deployment_key}
        return parse.document(document.source, {**document.content, **emptied}, name=document.name)

    def _keep(self, name: str, previous: tuple[Document, ...], found: tuple[Document, ...]) -> None:
        known = {(document.name, document.digest) for document in previous}
        for document in found:
            if (document.name, document.digest) not in known:
                self._shelf.keep(document)
        for gone in {document.name for document in previous} - {document.name for document in found}:
            self._shelf.forget(gone)
        self.documents[name] = found
        self._partial.discard(name)

    def _complete(self, name: str, found: tuple[Document, ...]) -> None:
        """A source has said again what our disk did not keep; a queue, which says things once, says nothing."""
        if name in self._partial and all(keeping.whole(document.content) for document in found):
            self.documents[name] = found
            self._parsed.clear()  # it goes by digests, which are the same
            self._partial.discard(name)

    def tend(self) -> None:
        """Have the disk keep no more of what was said than is needed by now. Raises StateError."""
        for document in [document for said in self.documents.values() for document in said]:
            self._shelf.keep(document)

    def _acknowledge(self, name: str, found: tuple[Document, ...]) -> None:
        """Tell a source that deletes what was read that it is on disk; untold, it says the same again."""
        acknowledge = getattr(COLLECTORS[name], "acknowledge", None)
        try:
            if acknowledge and self._shelf.lasting:
                connection = self.connection(name)
                acknowledge(self.settings, connection.client, connection.tokens, found)
        except (Unavailable, Refused, SettingsError) as exc:
            log.warning("not acknowledged, again at the next poll", source=name, reason=str(exc))

    def _overlay(self) -> bool:
        """Let the metadata's own section configure the collectors; True when that changed anything."""
        section = merge.merge(self.standing()).get(OVERLAY)
        try:
            settings = self.given.settings(section if isinstance(section, dict) else {})
        except SettingsError as exc:
            log.error("settings in the metadata not taken over", reason=str(exc))
            return False
        changed = settings != self.settings
        self.settings = settings
        return changed

    def standing(self) -> tuple[Document, ...]:
        """The last good documents, in the order of the sources."""
        order = dict.fromkeys((*self._given_collectors, *self.settings.collectors))
        return tuple(document for name in order for document in self.documents.get(name, ()))

    def deployments(self) -> tuple[Deployment, ...]:
        """What the last good documents list, in the order of the sources, each id once."""
        documents = [document for name in self.named for document in self.documents.get(name, ())]
        self._parsed = {f"{d.name} {d.digest}": self._parse(d) for d in documents}
        deployments, repeated = unique(d for parsed in self._parsed.values() for d in parsed.deployments)
        for identity in repeated:
            log.debug("id listed more than once, the first counts", deployment=identity)
        return deployments

    @property
    def complete(self) -> bool:
        """Whether what is listed is all there is: every source has answered us, none fails now, all was understood."""
        understood = not any(parsed.problems for parsed in self._parsed.values())
        return bool(self.named) and understood and not self.faults and self._answered >= set(self.named)

    def _parse(self, document: Document) -> Parsed:
        """The deployments of a document, parsed once for as long as it stays the same."""
        known = self._parsed.get(f"{document.name} {document.digest}")
        if known is None:
            known = parse.deployments(document, self.settings.deployment_key)
            for problem in known.problems:
                log.error("not a deployment", source=document.source, document=document.name, reason=problem)
        return known


def places(settings: Settings) -> Places:
    """Where the state of an agent with these settings is."""
    return Places(settings.path(settings.state_dir), settings.path(settings.deployed_dir))


def _emptied(name: str, previous: tuple[Document, ...], found: tuple[Document, ...]) -> bool:
    """Whether a source that had something to say says nothing at all; only the files of `local` may come to that.

    Heat withdraws a deployment by a shorter list, and its documents have other keys besides.
    """
    return name != "local" and any(d.content for d in previous) and bool(found) and not any(d.content for d in found)


def _unvalidated(documents: tuple[Document, ...]) -> tuple[Document, ...]:
    """Documents by which a source cannot say that nothing is new: what they lack is wanted."""
    return tuple(replace(document, validator={}) for document in documents)


def _digests(documents: tuple[Document, ...]) -> tuple[tuple[str, str], ...]:
    return tuple((document.name, document.digest) for document in documents)
