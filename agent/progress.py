"""The steps of a hook, shown to the stack's owner while it runs: as events of a wait-condition handle.

The deployment says of which one, in its option `progress` or its input `progress_handle`. Its own signal is never used,
for Heat takes whatever arrives there as the outcome. A process beside the runner sends, so that what goes wrong here
costs events and nothing else: the runner does not know of it, nobody waits for it, and it ends after the runner.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qs, quote, unquote

from agent import jsontext, log, process, signaller, transport, urls
from agent.aws import sign_v2
from agent.errors import AgentError, MetadataError
from agent.hooks.workplace import Workplace
from agent.identity import Tokens
from agent.journal import Journal
from agent.model import Credentials, Deployment, Endpoint, Entry, Json, JsonMap
from agent.settings import Settings
from agent.signaller import Own
from agent.transport import Client, Limits

OPTION, INPUT, VARIABLE = "progress", "progress_handle", "heat_progress_path"
EVENTS = 100
"""For one deployment: Heat keeps about a thousand for a whole stack (heat.conf, max_events_per_stack)."""
INTERVAL_S = 1.0
TEXT_LIMIT = 200  # characters; an event's reason holds 255, of which Heat uses some
REQUEST_S = 10.0
MISHAPS = 5  # in a row, after which nothing more is tried
READ_AT_MOST = 4096

_URLS = ("http://", "https://")


# -------------------------------------------------------------------------------------------------- decide


def wanted(deployment: Deployment) -> bool:
    """Whether a deployment asks for its steps to be shown."""
    return bool(_named(deployment))


def handle(deployment: Deployment, server: Own) -> Endpoint:
    """Where the steps of a deployment are shown.

    Heat's `signal` attribute of the handle, its `alarm_url` alone, or the name of the handle's resource, for which the
    deployment's own user or what the `server` has is used. Raises MetadataError, saying why, for anything else.
    """
    named = _named(deployment)
    if isinstance(named, str) and named.lstrip().startswith("{"):
        named = jsontext.decode_map(named.encode(), f"the {OPTION} of '{deployment.name}'")
    match named:
        case dict():
            found = _of_signal(named)
        case str() if named.startswith(_URLS):
            found = _of_signal({"alarm_url": named})
        case str():
            found = _of_name(named, deployment.endpoint, server)
        case _:
            raise MetadataError(f"its {OPTION} is neither a handle's name nor its URL nor its signal attribute")
    if _same_place(found, deployment.endpoint):
        raise MetadataError(f"its {OPTION} is the deployment itself, which a step would complete; name a handle")
    return found


def next_text(line: str, ended: str, shown: str, events: int) -> str:
    """What is to be shown now, "" for nothing: the hook's newest `line` unless it is what was `shown`, else its end."""
    return line if line and line != shown and events < EVENTS - 1 else ended


def fit(name: str, text: str) -> str:
    """The reason of an event: one line of a bounded length."""
    said = "".join(character if character.isprintable() else " " for character in f"{name}: {text}")
    return said if len(said) <= TEXT_LIMIT else said[: TEXT_LIMIT - 1] + "…"


def _named(deployment: Deployment) -> Json:
    given = deployment.inputs.get(INPUT)
    return deployment.options.get(OPTION) or (given.value if given else None)


def _of_signal(given: JsonMap) -> Endpoint:
    url = given.get("alarm_url")
    if not isinstance(url, str) or not url.startswith(_URLS):
        raise MetadataError(
            f"its {OPTION} has no alarm_url, only handles of CFN_SIGNAL, HEAT_SIGNAL and TEMP_URL_SIGNAL have one; "
            "name the handle's resource instead"
        )
    if "temp_url_sig" in parse_qs(urls.split(url).query):
        return Endpoint("TEMP_URL_SIGNAL", url, verb="PUT")
    path = unquote(urls.split(url).path)
    stack, _, resource = path.rpartition("stacks/")[2].removesuffix("/signal").partition("/resources/")
    if isinstance(given.get("password"), str):
        names = ("auth_url", "user_id", "password", "project_id", "region_name")
        who = Credentials(*(str(given.get(name) or "") for name in names))
        return Endpoint("HEAT_SIGNAL", stack_id=stack, resource_name=resource, credentials=who)
    verb = "PUT" if "/waitcondition/" in path else "POST"
    return Endpoint("CFN_SIGNAL", url, verb=verb, stack_id=stack, resource_name=resource)


def _same_place(one: Endpoint, other: Endpoint) -> bool:
    """Whether both are the same resource, or the same object."""
    if one.url and other.url and urls.split(one.url).path == urls.split(other.url).path:
        return True
    same_stack = one.stack_id.rpartition("/")[2] == other.stack_id.rpartition("/")[2]
    return bool(one.resource_name) and one.resource_name == other.resource_name and same_stack


def _of_name(resource: str, own: Endpoint, server: Own) -> Endpoint:
    """A resource of the deployment's stack, signalled by one of its users, or by a URL beside the deployment's own."""
    if who := own.credentials or server.user:
        return Endpoint("HEAT_SIGNAL", stack_id=own.stack_id, resource_name=resource, credentials=who)
    if server.access_key and own.transport == "CFN_SIGNAL":
        url = own.url.partition("?")[0].rpartition("/")[0] + "/" + quote(resource, safe="")
        return Endpoint("CFN_SIGNAL", sign_v2("POST", url, {}, server.access_key, server.secret_key))
    raise MetadataError(
        f"its {OPTION} names {resource!r}, and there is no user to signal it as; give the handle's signal attribute"
    )


# ------------------------------------------------------------------------------------------- in the runner


def told(deployment: Deployment, entry: Entry, settings: Settings) -> dict[str, str]:
    """What the hook of a deployment is told in its environment, nothing where no steps are wanted."""
    return {VARIABLE: str(_path(entry, settings))} if wanted(deployment) else {}


def offer(place: Workplace) -> Workplace:
    """The same workplace with an empty file for the hook's own words where it was told of one."""
    path = Path(place.told[VARIABLE])
    try:
        path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)  # others pass; only we make and replace files
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            if place.user:
                os.fchown(fd, *place.user.owner)
        finally:
            os.close(fd)
    except OSError:  # a full disk costs the hook's words, not the hook
        return replace(place, told={name: text for name, text in place.told.items() if name != VARIABLE})
    return place


def _path(entry: Entry, settings: Settings) -> Path:
    """One for each run: the process that shows the last steps of a run removes its file beside the next run."""
    return settings.path(settings.outputs_dir) / "progress" / f"{entry.key}.{entry.attempt}.{entry.reboots}"


# ------------------------------------------------------------------------------------- in its own process


@dataclass(frozen=True, slots=True)
class Showing:
    """What the process that shows a deployment's steps was given; `runner` is a pidfd."""

    runner: int
    deployment: Deployment
    endpoint: Endpoint
    server: Own
    tokens: Tokens
    client: Client
    journal: Journal
    settings: Settings


def follow(deployment: Deployment, runner: int, journal: Journal, settings: Settings, tokens: Tokens) -> None:
    """Show the steps of a deployment that the runner behind the pidfd `runner` has begun; returns at once."""
    server = signaller.own(settings)
    try:
        endpoint = handle(deployment, server)
    except MetadataError as exc:
        log.warning("progress not shown", deployment=deployment.id, reason=str(exc))
        return
    client = transport.client(settings, signaller.SECTIONS[endpoint.transport], Limits(REQUEST_S, REQUEST_S, REQUEST_S))
    showing = Showing(runner, deployment, endpoint, server, tokens.lent_to(client), client, journal, settings)
    try:
        between = os.fork()
    except OSError as exc:
        log.warning("progress not shown", deployment=deployment.id, reason=f"no room for a process: {exc.strerror}")
        return
    if between == 0:
        _leave(showing)
    os.waitpid(between, 0)


def _leave(showing: Showing) -> NoReturn:
    """Become a process that nobody has to wait for, and show what there is to show."""
    try:
        if os.fork() == 0:
            settings, key = showing.settings, showing.deployment.key
            _detach(showing.runner, settings.path(settings.log_dir) / f"{key}.log")
            _show_all(showing, _path(showing.journal.entry(key), settings))
    except Exception:  # noqa: BLE001 - the last frame of this process: a traceback in the live log
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(0)


def _detach(runner: int, live: Path) -> None:
    """A session of its own with nothing of the agent's; what goes wrong is added to the deployment's live log."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    os.setsid()
    process.only_descriptors(runner)
    with suppress(OSError):  # without a live log nobody hears of it
        fd = os.open(live, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.dup2(fd, 2)


def _show_all(showing: Showing, path: Path) -> None:
    began = time.monotonic()
    text, shown, ended, events, mishaps = "started", "", "", 0, 0
    while True:
        if text:
            mishaps = 0 if _show(showing, text) else mishaps + 1
            shown, events = text, events + 1
        if mishaps == MISHAPS or (ended and text == ended):
            break
        pause = time.monotonic() + INTERVAL_S
        if ended or _is_over(showing):
            ended = ended or f"{_end(showing)} after {time.monotonic() - began:.0f} s"
        time.sleep(max(pause - time.monotonic(), 0.0))
        text = next_text(_newest_line(path), ended, shown, events)
    with suppress(OSError):  # it was never made
        path.unlink()


def _is_over(showing: Showing) -> bool:
    """Wait a moment; whether the hook has come to its end. A runner that ends may have handed it to a unit's."""
    left = select.select([showing.runner], [], [], INTERVAL_S)[0]
    return bool(left) and not showing.journal.running(showing.deployment.key)


def _show(showing: Showing, text: str) -> bool:
    """One try; a failure is told in the live log."""
    name, endpoint = showing.deployment.name, showing.endpoint
    reason = fit(name, text)
    try:
        if endpoint.transport == "TEMP_URL_SIGNAL":  # an empty object is no signal to Heat; its metadata is the owner's
            headers = {"X-Object-Meta-Progress": reason.encode().decode("latin-1")}
            showing.client.request(endpoint.verb, endpoint.url, headers=headers, body=b"")
        else:  # one id: a condition that waits for this handle counts it once
            body = json.dumps({"status": "SUCCESS", "reason": reason, "id": name}).encode()
            signaller.post(endpoint, body, showing.client, showing.tokens, showing.server)
    except AgentError as exc:
        log.warning("progress not shown", deployment=showing.deployment.id, reason=str(exc))
        return False
    return True


def _end(showing: Showing) -> str:
    try:
        return f"ended with status {showing.journal.outcome(showing.deployment.key).get('deploy_status_code')}"
    except AgentError:  # its runner was killed
        return "ended without an outcome"


def _newest_line(path: Path) -> str:
    """The last line of what a hook wrote that is not blank; it may append or write anew."""
    try:
        with path.open("rb") as file:
            file.seek(max(os.fstat(file.fileno()).st_size - READ_AT_MOST, 0))
            lines = file.read(READ_AT_MOST).decode("utf-8", "replace").splitlines()
    except OSError:  # not made yet
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
