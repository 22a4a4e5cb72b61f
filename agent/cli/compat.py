"""`heat-config` (the old dispatcher, 55-heat-config) and `heat-config-notify` (the old signaller).

Both parse the old environment and arguments and use the agent's own runner, journal and signaller.
"""

from __future__ import annotations

import json
import os
import select
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent import answers, dispatch, hooks, jsontext, log, model, parse, process, reboots, signaller, state
from agent.errors import AgentError, MetadataError, Unavailable
from agent.identity import Tokens
from agent.journal import Journal
from agent.metadata import places
from agent.model import Deployment, Endpoint, JsonMap
from agent.plan import unique
from agent.settings import Given, Settings, read_files
from agent.state import Places
from agent.transport import Client, Limits

NOTIFY_PATIENCE_S = 40.0
BY_URL = ("CFN_SIGNAL", "TEMP_URL_SIGNAL")
NOTIFY_LIMITS = Limits(total_s=15.0)
OLD_DEPLOYED = "/var/run/heat-config/deployed"
SHELL_CONFIG = "/var/run/heat-config/heat-config"


def main(name: str, argv: list[str]) -> int:
    log.set_level("warning")
    return {"heat-config": heat_config, "heat-config-notify": heat_config_notify}[name](argv, os.environ)


# ------------------------------------------------------------------------------------------- heat-config


def heat_config(_argv: list[str], environ: Mapping[str, str]) -> int:
    """Run what the rendered list holds and is not done yet, in its order, each signalled before the next starts."""
    config = Path(environ.get("HEAT_SHELL_CONFIG", SHELL_CONFIG))
    if not config.is_file():
        print(f"No config file {config}", file=sys.stderr)
        return 1
    config.chmod(0o600)
    settings = settings_of(environ)
    where = places(settings)
    _move_old_state(environ, where)
    state.make_directory(where.deployed)
    lock = state.lock(where.agent_lock, "heat-config")
    try:
        journal = Journal(where, whole_marks=True)  # heat-config-notify reads there whom to tell
        journal.open()
        journal.strip()
        for deployment in _listed(config):
            body = _dispatch(deployment, journal, settings, environ)
            if body is not None:
                _tell(deployment, body, journal, environ)
    finally:
        lock.release()
    return 0


def settings_of(environ: Mapping[str, str]) -> Settings:
    """The usual settings; a deployed directory of the caller's own keeps all state and logs to itself."""
    settings = Given(Path("/"), environ=dict(environ), files=tuple(read_files(Path("/"), environ))).settings()
    own = environ.get("HEAT_CONFIG_DEPLOYED")
    if not own:
        return settings
    inside = f"{Path(own).absolute()}/.os-deploy-agent"
    return replace(settings, deployed_dir=str(Path(own).absolute()), state_dir=inside, log_dir=f"{inside}/log")


def _move_old_state(environ: Mapping[str, str], where: Places) -> None:
    """State once lived in /var/run and was lost with every reboot (Launchpad 1513220): take it along."""
    old = Path(environ.get("HEAT_CONFIG_DEPLOYED_OLD", OLD_DEPLOYED))
    if old.is_dir() and not where.deployed.exists():
        where.deployed.parent.mkdir(parents=True, exist_ok=True)
        old.rename(where.deployed)


def _listed(config: Path) -> tuple[Deployment, ...]:
    try:
        data = config.read_bytes()
        listed = jsontext.decode(data, str(config)) if data.strip() else []
    except MetadataError as exc:
        log.error("deployments not readable", reason=str(exc))
        return ()
    parsed = parse.deployments(parse.document("heat-config", {"deployments": listed}))
    for problem in parsed.problems:
        log.error("not a deployment", file=str(config), reason=problem)
    for deployment in parsed.deployments:
        if not deployment.id:
            log.error("deployment without id skipped", name=deployment.name)
    return unique(deployment for deployment in parsed.deployments if deployment.id)[0]


def _dispatch(
    deployment: Deployment, journal: Journal, settings: Settings, environ: Mapping[str, str]
) -> JsonMap | None:
    """The outcome to tell of, None when the deployment is done or not ours."""
    hook = hooks.find(deployment.group, settings, environ)
    if deployment.group in model.ANSWERED_BY_TEMPLATES and not (hook and hook.path):
        return None  # the full cycle answers it, by applying the templates
    key = deployment.key
    match journal.entry(key).progress:
        case model.UNKNOWN | model.RECEIVED:
            running = dispatch.start(deployment, journal, settings) or dispatch.adopt(key, journal)
            _await(running, journal)
        case model.RUNNING:
            _await(dispatch.adopt(key, journal), journal)
        case model.INTERRUPTED:
            pass
        case _:
            return None
    if journal.refresh(key).progress == model.INTERRUPTED:
        dispatch.interrupted(key, journal, settings)
    if journal.entry(key).progress == model.REBOOTING:
        reboots.no_reboot(key, journal, "heat-config does not reboot; let the agent run this deployment")
    with suppress(OSError):  # a lock file left behind does no harm
        journal.lock_path(key).unlink()
    return model.told(journal.outcome(key))


def _await(running: dispatch.Running, journal: Journal) -> None:
    """Wait for a runner, which bounds its own time."""
    while running.pidfd < 0 and journal.running(running.key):
        select.select([], [], [], 1.0)
    if running.pidfd >= 0:
        select.select([running.pidfd], [], [])
    running.close()


def _tell(deployment: Deployment, body: JsonMap, journal: Journal, environ: Mapping[str, str]) -> None:
    """Hand the outcome to the notify program, or send it ourselves; what fails stays for the agent."""
    program = environ.get("HEAT_CONFIG_NOTIFY")
    try:
        if program:
            _notify_by(program, journal.places.mark(deployment.key), body)
        else:
            _send(deployment, body)
    except AgentError as exc:
        log.error("outcome not delivered, kept for the agent", deployment=deployment.id, reason=str(exc))
        journal.tried(deployment.key, str(exc), 0.0)
    else:
        journal.settle(deployment.key, model.SIGNALLED)
        journal.strip()


def _notify_by(program: str, mark: Path, body: JsonMap) -> None:
    try:
        finished = process.run(
            [program, str(mark)],
            env=process.environment({}),
            cwd=Path.cwd(),
            timeout_s=600.0,
            stdin=json.dumps(body).encode(),
        )
    except OSError as exc:
        raise Unavailable(f"running {program}: {exc.strerror}; see HEAT_CONFIG_NOTIFY") from exc
    if finished.status:
        raise Unavailable(f"{program} ended with {finished.status}: {finished.stderr.text()[-200:].strip()}")


# ------------------------------------------------------------------------------------ heat-config-notify


def heat_config_notify(argv: list[str], environ: Mapping[str, str]) -> int:
    """Send the reply on stdin to the endpoint that the deployment in the named file gives."""
    if len(argv) != 1:
        print("usage: heat-config-notify CONFIG.json < REPLY.json", file=sys.stderr)
        return 1
    path = Path(argv[0])
    try:
        deployment = parse.deployment(jsontext.decode_map(path.read_bytes(), str(path)))
    except (OSError, MetadataError) as exc:
        print(f"heat-config-notify: reading {path}: {exc}", file=sys.stderr)
        return 1
    if lost := ", ".join(deployment.endpoint.lost):
        why = f"{path} does not hold {lost}: the agent keeps that elsewhere, and no longer than it is needed"
        print(f"heat-config-notify: {why}; have it signal: agent signal {deployment.id}", file=sys.stderr)
        return 1
    body = _reply(sys.stdin.buffer.read())
    try:
        _send(deployment, body)
    except AgentError as exc:
        print(f"heat-config-notify: {exc}; the outcome is kept", file=sys.stderr)
        _keep(path, deployment, body, str(exc), settings_of(environ))
        return 1
    return 0


def _reply(data: bytes) -> JsonMap:
    """The reply; one that is no JSON object is told as a failure, since Heat would take it for success."""
    try:
        return jsontext.decode_map(data, "the reply on stdin")
    except MetadataError as exc:
        return model.Outcome(model.STATUS_DATA, "", f"heat-config-notify: {exc}\n").body()


def _keep(path: Path, deployment: Deployment, body: JsonMap, reason: str, settings: Settings) -> None:
    """Beside the deployment, where the agent looks; in its journal too when that is where it lives."""
    where = places(settings)
    if path.parent.absolute() == where.deployed and path.name == f"{deployment.key}.json" and where.journal.is_dir():
        journal = Journal(where)
        journal.open()
        journal.keep_unsent(deployment, body, reason)
    else:
        state.write(path.with_name(f"{path.stem}.notify.json"), json.dumps(body).encode())


def _send(deployment: Deployment, body: JsonMap) -> None:
    """Send within a minute, repeating what was not taken: there is no document here to check the id against."""
    if not deployment.endpoint.wanted:
        return
    client = Client(NOTIFY_LIMITS)
    tokens = Tokens(client)
    endpoints = _endpoints(deployment.endpoint)
    try:
        for endpoint in endpoints:
            attempt = partial(signaller.send, endpoint, body, client, tokens)
            answers.persist(attempt, deadline_s=NOTIFY_PATIENCE_S / len(endpoints))
    finally:
        client.close()


def _endpoints(endpoint: Endpoint) -> tuple[Endpoint, ...]:
    """The old signaller told whom it could, by URL and by credentials; Heat never gives both of them."""
    who = endpoint.credentials
    if not (endpoint.url and who and who.user_id and who.password):
        return (endpoint,)
    by_url = endpoint.transport if endpoint.transport in BY_URL else BY_URL[0]
    by_user = "ZAQAR_SIGNAL" if endpoint.queue_id else "HEAT_SIGNAL"
    return (replace(endpoint, transport=by_url), replace(endpoint, transport=by_user))
