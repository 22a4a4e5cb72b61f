"""`os-collect-config`: collect metadata, keep it in the old cache, run a command when it changed.

For guests whose other half is still os-apply-config and os-refresh-config. Sources, HTTP and settings are the agent's
own; the cache is written as scripts of others know it. Nothing is deployed or signalled here.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import FrameType

from agent import cache, log, parse, process, transport
from agent.cache import Cache, Item
from agent.cli import collect_options
from agent.cli.collect_options import PROGRAM, Options, Told
from agent.collectors import COLLECTORS, config_drive, local
from agent.errors import AgentError, SettingsError, StateError, Unavailable
from agent.identity import Tokens
from agent.model import Document
from agent.settings import Settings
from agent.subscription import Subscription
from agent.transport import Client, Limits

SLOW = 3.0  # how many times as long as it took to fail a source is left alone: the others wait for it meanwhile


def main(_name: str, argv: list[str]) -> int:
    """Print what the sources say, or run the command: once, or until SIGTERM."""
    try:
        told = collect_options.parse(argv)
        files = collect_options.read(told, os.environ)
        options = collect_options.options(told, os.environ, files)
        if told.print_cachedir:
            print(options.cachedir)
            return 0
        with _logging(options):
            if options.print_only or not options.command:
                print(json.dumps({item.key: item.content for item in Sources(options).live()}, indent=1))
                return 0
            return _poll(told, files, options)
    except (SettingsError, StateError) as exc:
        print(f"{PROGRAM}: {exc}", file=sys.stderr)
        return 1


@contextmanager
def _logging(options: Options) -> Iterator[None]:
    """The log where it is wanted. A file that cannot be had stops nothing: the old program never opened one."""
    log.set_level("debug" if options.debug else "info")
    log.direct(sys.stderr, as_json=options.use_json)
    with ExitStack() as opened:
        if options.log_file is not None:
            try:
                stream = opened.enter_context(options.log_file.open("a", encoding="utf-8", buffering=1))
                log.direct(stream, as_json=options.use_json)
            except OSError as exc:
                log.warning("logging here; see log_file", file=str(options.log_file), reason=exc.strerror)
        yield


# --------------------------------------------------------------------------------------------------- sources


@dataclass(slots=True)
class Source:
    """What is remembered of one source between two rounds."""

    client: Client
    tokens: Tokens
    documents: tuple[Document, ...] = ()
    complaint: str = ""
    not_before: float = 0.0


@dataclass(slots=True)
class Sources:
    """The sources, asked one by one; connections, tokens and validators are kept from round to round."""

    options: Options
    known: dict[str, Source] = field(default_factory=dict)
    has_drive: bool | None = None
    subscription: Subscription = field(default_factory=Subscription)

    def subscribe(self) -> bool:
        """Be told of messages where that is asked for; True when it begins: what came before waits in the queue."""
        settings = self.options.settings
        if not self.options.use_websockets or not COLLECTORS["zaqar"].configured(settings):
            return False
        return self.subscription.tend(settings, self._source("zaqar").tokens, time.time())

    def live(self) -> tuple[Item, ...]:
        """What the sources say now, nothing stored and no message deleted."""
        items: list[Item] = []
        for name in self.options.settings.collectors:
            items += self.ask(name) or ()
        return tuple(items)

    def ask(self, name: str, previous: tuple[Document, ...] = ()) -> tuple[Item, ...] | None:
        """What one source says, None when it does not answer; `previous` is what it said before this process began."""
        settings, source = self.options.settings, self._source(name)
        began = time.monotonic()
        if name == "ec2" and (kept := self._tree()):
            return kept
        if began < source.not_before:
            return None
        if not COLLECTORS[name].configured(settings):
            self._complain(name, "not configured")
            return None
        try:
            if name == "local":
                found = tuple(cache.foreign(path.name, content) for path, content in local.read(settings))
            else:
                source.documents = self._documents(name, settings, source, source.documents or previous)
                found = cache.taken_apart(name, source.documents[0].content, self.options.keys_of(name))
                if name == "heat_local" and not found[0].content:
                    raise Unavailable("looking for what cloud-init left: it holds nothing")
        except AgentError as exc:
            now = time.monotonic()
            source.not_before = now + max(getattr(exc, "retry_after_s", 0.0), SLOW * (now - began))
            self._complain(name, str(exc))
            return None
        log.debug(f"source [{name}] answered", items=len(found))
        source.complaint = ""
        return found

    def _tree(self) -> tuple[Item, ...]:
        """The tree of an instance hardly changes and costs a request a leaf: the cached one will do (LP 1619072)."""
        return tuple(item for item in Cache(self.options.cachedir).kept("ec2", ()) if item.content)

    def acknowledge(self) -> None:
        """What was asked is on disk now."""
        for name, source in self.known.items():
            tell = getattr(COLLECTORS[name], "acknowledge", None)
            try:
                if tell and source.documents:
                    tell(self.options.settings, source.client, source.tokens, source.documents)
            except AgentError as exc:
                log.warning("not acknowledged, again at the next poll", source=name, reason=str(exc))

    def _documents(
        self, name: str, settings: Settings, source: Source, previous: tuple[Document, ...]
    ) -> tuple[Document, ...]:
        if name == "ec2" and self.has_drive is None:
            self.has_drive = bool(config_drive.find(settings))
        if name == "ec2" and self.has_drive:
            return config_drive.collect(settings, source.client, source.tokens, previous)
        found: tuple[Document, ...] = COLLECTORS[name].collect(settings, source.client, source.tokens, previous)
        return found

    def _source(self, name: str) -> Source:
        if name not in self.known:
            settings = self.options.settings
            silence_s = self.options.timeouts.get(name, settings.read_timeout)
            limits = Limits(silence_s, silence_s, max(settings.total_timeout, silence_s), settings.max_document)
            client = transport.client(settings, name, limits)
            self.known[name] = Source(client, Tokens(client))
        return self.known[name]

    def _complain(self, name: str, reason: str) -> None:
        """Once for each reason: a source may be down for days."""
        source = self._source(name)
        if source.complaint != reason:
            source.complaint = reason
            log.warning(f"Source [{name}] Unavailable.", reason=reason)


# ---------------------------------------------------------------------------------------------------- rounds


@dataclass(frozen=True, slots=True)
class Result:
    """How a round ended: whether anything had changed, and the command's return code (0 when it did not run)."""

    changed: bool
    status: int = 0


def run_round(options: Options, sources: Sources) -> Result:
    """Ask, store, and run the command when something changed; what it succeeded with is committed."""
    kept = Cache(options.cachedir)
    kept.open()
    items, answered = _gather(options, sources, kept)
    changed = kept.changed(items)
    gone = kept.gone(items, answered, options.keys_of)
    kept.store(items)
    sources.acknowledge()
    if not (changed or gone or options.force):
        return Result(changed=False)
    if changed or gone:
        kept.write_list(items)
        _back_up(kept, options)
    paths = ":".join(str(kept.path(item.file)) for item in items)
    log.info("running the command", changed=[item.file for item in changed], gone=sorted(gone))
    log.debug("by the shell", command=options.command)
    status = process.shell(options.command, {"OS_CONFIG_FILES": paths})
    if status:
        log.error("command failed, again at the next poll", status=status)
        return Result(bool(changed or gone), status)
    kept.commit(changed)
    kept.remove(gone)
    return Result(bool(changed or gone))


def _gather(options: Options, sources: Sources, kept: Cache) -> tuple[tuple[Item, ...], frozenset[str]]:
    """All items in order, and which sources answered. One that is down keeps its last items, in its place."""
    items: list[Item] = []
    answered = set()
    for name in options.settings.collectors:
        found = sources.ask(name, _remembered(kept) if name == "zaqar" else ())
        if found is not None:
            answered.add(name)
        elif name == "local":
            present = COLLECTORS[name].configured(options.settings)
            found = kept.local(options.keys_of) if present else ()
            answered |= set() if present else {name}
        elif name == "heat_local" or COLLECTORS[name].configured(options.settings):
            found = kept.kept(name, options.keys_of(name))
        items += found or ()
    return cache.latest(items), frozenset(answered)


def _remembered(kept: Cache) -> tuple[Document, ...]:
    """The last message of the queue, which says each thing once."""
    content = kept.content("zaqar")
    return (parse.document("zaqar", content),) if isinstance(content, dict) else ()


def _back_up(kept: Cache, options: Options) -> None:
    try:
        kept.back_up(options.backup)
    except StateError as exc:
        log.warning("no copy of the cache", reason=str(exc))


# ------------------------------------------------------------------------------------------------------ loop


def _poll(told: Told, files: tuple[tuple[str, str], ...], options: Options) -> int:
    """Rounds until SIGTERM, or one of them. The pause doubles up to its limit and goes back when something changed."""
    with _hangups() as (pause, wanted):
        if options.settings.splay and not options.one_time:
            pause(random.uniform(0, options.settings.splay), Subscription())
        sources, wait_s, complaint = Sources(options), 0.0, ""
        while True:
            try:
                result = run_round(options, sources)
            except StateError as exc:
                if options.one_time:
                    raise
                log.error("cache cannot be kept", reason=str(exc))
                result = Result(changed=False)
            if options.one_time:
                return result.status
            try:
                found = collect_options.read(told, os.environ)
                if found != files or wanted():
                    options, files, wait_s = _reread(told, found), found, 0.0
                    sources.subscription.close()
                    sources = Sources(options)
                    log.info("settings read again")
                    continue
                complaint = ""
            except SettingsError as exc:
                if complaint != str(exc):
                    log.error("settings not taken over", reason=str(exc))
                complaint = str(exc)
            if sources.subscribe():
                continue
            shortest, longest = options.settings.min_polling_interval, options.settings.polling_interval
            fresh = result.changed and not result.status
            wait_s = shortest if fresh else min(max(wait_s * 2, shortest), max(longest, shortest))
            log.debug("sleeping", seconds=wait_s)
            pause(random.uniform(0.8 * wait_s, wait_s), sources.subscription)


def _reread(told: Told, files: tuple[tuple[str, str], ...]) -> Options:
    options = collect_options.options(told, os.environ, files)
    if not options.command:
        raise SettingsError("the files name no command any more")
    return options


@contextmanager
def _hangups() -> Iterator[tuple[Callable[[float, Subscription], None], Callable[[], bool]]]:
    """A pause that SIGHUP or a push ends, and whether there was a SIGHUP since the last look."""
    told = False

    def hear(_number: int, _frame: FrameType | None) -> None:
        nonlocal told
        told = True

    def wanted() -> bool:
        nonlocal told
        heard, told = told, False
        return heard

    def pause(seconds: float, push: Subscription) -> None:
        heard = [read, *([push.fileno()] if push.fileno() >= 0 else [])]
        ready = [] if told else select.select(heard, [], [], seconds)[0]
        if read in ready:
            os.read(read, 4096)
        elif ready:
            push.take(time.time())

    read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(signal.SIGHUP, hear)
    woken = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    try:
        yield pause, wanted
    finally:
        signal.set_wakeup_fd(woken)
        signal.signal(signal.SIGHUP, before)
        os.close(read)
        os.close(write)
