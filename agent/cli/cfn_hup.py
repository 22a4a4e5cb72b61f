"""`cfn-hup`: looks whether the metadata of a resource has changed and runs the hooks that this concerns.

One pass, or with --daemon one every interval until SIGTERM, and at once, with the files read again, on SIGHUP. What
each hook saw when it last succeeded is written down before anything else changes, so that a hook that fails, or that
we are killed in, is run again by the next pass.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from agent import jsontext, process, state
from agent.apply import cfn_api, cfn_commands, cfn_hooks, cfn_metadata, cfn_model
from agent.apply.cfn_api import Access, Resource
from agent.apply.cfn_hooks import ABSENT, RESTARTED, Absent, HupHook, Main
from agent.cli.cfn_log import Log
from agent.errors import AgentError, ApplyError, Interrupted, MetadataError, SettingsError
from agent.model import Json, JsonMap
from agent.transport import Client, Limits

CONFIG = Path("/etc/cfn")
ACTION_S = 4 * 3600.0
LOCK_WAIT_S = 60.0


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass needs."""

    main: Main
    hooks: tuple[HupHook, ...]
    log: Log
    client: Client = field(default_factory=lambda: Client(Limits()))


def main(argv: list[str], log: Log) -> int:
    arguments = _parse(argv)
    one = _read(arguments, log)
    if arguments.daemon:
        return _stay(one, arguments)
    _locked(one)
    return 0


def _read(arguments: argparse.Namespace, log: Log) -> Pass:
    """What the files say. Raises SettingsError."""
    settings, hooks = cfn_hooks.read(_files(arguments.config))
    os.umask(settings.umask)
    log.tell_all(arguments.verbose or settings.verbose)
    for hook in hooks:
        if unknown := [word for word in hook.triggers if word not in cfn_hooks.KNOWN]:
            log.warn(f"hook {hook.name} names triggers that nobody fires: {', '.join(unknown)}")
        if "on.command" in hook.triggers:
            log.warn(f"hook {hook.name} waits for on.command, which needs SQS; Heat has none")
    return Pass(settings, hooks, log)


def _stay(one: Pass, arguments: argparse.Namespace) -> int:
    """Pass after pass; one that fails is told of and the next one comes."""
    told, tells = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(tells)
    signal.signal(signal.SIGHUP, _look_now)
    try:
        while True:
            try:
                _locked(one)
            except AgentError as exc:
                one.log.fail(str(exc))
            if select.select([told], [], [], one.main.interval_s)[0]:
                os.read(told, 4096)
                one = _read_again(one, arguments)
    except Interrupted:
        one.log.tell("ended by SIGTERM")
        return 0


def _read_again(one: Pass, arguments: argparse.Namespace) -> Pass:
    """The pass that the files ask for now; as before when they cannot be used."""
    try:
        return _read(arguments, one.log)
    except SettingsError as exc:
        one.log.fail(f"{exc}; going on as before")
        return one


def _look_now(_number: int, _frame: FrameType | None) -> None:
    """The wakeup descriptor of `_stay` ends its pause."""


def _locked(one: Pass) -> None:
    state.make_directory(cfn_metadata.CACHE)
    held = state.lock(cfn_metadata.CACHE / "cfn-hup.lock", "cfn-hup", wait_s=LOCK_WAIT_S)
    try:
        _pass(one)
    finally:
        held.release()


def _pass(one: Pass) -> None:
    key, secret = cfn_api.credentials(Path(one.main.credential_file))
    access = Access(cfn_api.endpoint(one.main.url), key, secret)
    for name in dict.fromkeys(hook.resource for hook in one.hooks):
        resource = cfn_api.describe(one.client, access, one.main.stack, name)
        if resource is not None and resource.status.endswith("_IN_PROGRESS"):
            one.log.tell(f"resource {name} is {resource.status}, looked at in the next pass")
            continue
        _look(one, name, resource)


def _look(one: Pass, name: str, resource: Resource | None) -> None:
    """Run the hooks that the change of one resource concerns, and start services of it that died."""
    hooks = [hook for hook in one.hooks if hook.resource == name]
    memory = _recall()
    seen = cfn_metadata.seen(name)
    old = {hook.name: _before(hook, memory, seen) for hook in hooks}
    _keep({**memory, **{hook.name: _spelled(hook, old[hook.name]) for hook in hooks}})
    if resource is not None:
        cfn_metadata.remember(name, resource.metadata, one.log.warn)
    for hook in hooks:
        new = cfn_hooks.value(hook, resource)
        trigger = cfn_hooks.concerned(hook, old[hook.name], new)
        if not trigger or _act(one, hook, trigger, old[hook.name], new):
            _keep({**_recall(), hook.name: _spelled(hook, new)})
    if resource is not None:
        _revive(one, hooks, resource)


def _act(one: Pass, hook: HupHook, trigger: str, old: Json | Absent, new: Json | Absent) -> bool:
    """Run the action of a hook; whether it succeeded."""
    variable = "PHYSICAL_RESOURCE_ID" if hook.part == cfn_hooks.PHYSICAL_ID else "METADATA"
    values = {f"CFN_OLD_{variable}": old, f"CFN_NEW_{variable}": new}
    extra = {name: _plain(value) for name, value in values.items() if not isinstance(value, Absent)}
    try:
        who = cfn_commands.account(hook.runas)
        done = process.run(
            ["/bin/sh", "-c", hook.action],
            env=process.environment({**who.variables, **extra}),
            cwd=Path("/"),
            timeout_s=ACTION_S,
            identity=who.identity if who.identity.uid != os.geteuid() else None,
        )
    except (ApplyError, OSError) as exc:
        one.log.fail(f"hook {hook.name} not run for {trigger}: {exc}; it is due again in the next pass")
        return False
    if done.status:
        ended = f"not done within {ACTION_S:.0f} s" if done.timed_out else f"ended with {done.status}"
        words = (done.stdout.text() + done.stderr.text()).strip()[-2000:]
        one.log.fail(f"hook {hook.name} for {trigger} {ended}; it is due again in the next pass\n{words}".strip())
        return False
    one.log.tell(f"hook {hook.name} run for {trigger}")
    return True


def _revive(one: Pass, hooks: list[HupHook], resource: Resource) -> None:
    """As heat-cfntools: services of the resource that shall run are started when they do not."""
    from agent.apply import cfn, cfn_services  # noqa: PLC0415 - only where there is something to look after

    if not resource.metadata.get(cfn_model.INIT):
        return
    try:
        services = [service for config in cfn.plan(resource.metadata).configs for service in config.services]
    except MetadataError as exc:
        one.log.tell(f"services of {hooks[0].resource} not looked after: {exc}")
        return
    if cfn_services.revive(services, one.log.tell):
        for hook in hooks:
            if RESTARTED in hook.triggers:
                _act(one, hook, RESTARTED, ABSENT, ABSENT)


# ------------------------------------------------------------------------------------------------- memory


def _memory() -> Path:
    return cfn_metadata.CACHE / "cfn-hup.json"


def _recall() -> JsonMap:
    """What each hook saw when it last succeeded."""
    try:
        return jsontext.decode_map(_memory().read_bytes(), str(_memory()))
    except (OSError, MetadataError):  # the first pass, or a damaged file: last_metadata tells then
        return {}


def _keep(memory: JsonMap) -> None:
    if memory != _recall():
        state.write(_memory(), json.dumps(memory).encode())


def _spelled(hook: HupHook, value: Json | Absent) -> Json:
    path: list[Json] = [hook.resource, hook.part, *hook.below]
    return {"path": path} if isinstance(value, Absent) else {"path": path, "value": value}


def _before(hook: HupHook, memory: JsonMap, seen: JsonMap | None) -> Json | Absent:
    """What the hook saw last: by its own memory, else by what any of the tools saw of the resource."""
    kept = memory.get(hook.name)
    if isinstance(kept, dict) and kept.get("path") == [hook.resource, hook.part, *hook.below]:
        return kept.get("value", ABSENT) if "value" in kept else ABSENT
    if seen is None or hook.part == cfn_hooks.PHYSICAL_ID:
        return ABSENT
    return cfn_hooks.value(hook, Resource(seen))


def _plain(value: Json | Absent) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---------------------------------------------------------------------------------------------- arguments


def _files(config: Path | None) -> list[Path]:
    """The files to read. `-c` names AWS's configuration directory or heat-cfntools' directory of hooks."""
    given = config or CONFIG / "hooks.d"
    base, hooks = (given, given / "hooks.d") if (given / "cfn-hup.conf").is_file() else (CONFIG, given)
    conf = base / "cfn-hup.conf"
    if not conf.is_file():
        raise SettingsError(f"Could not open main configuration {conf}; write it, with [main] and a stack in it")
    listed = sorted(hooks.iterdir()) if hooks.is_dir() else []
    shown = [path for path in listed if path.is_file() and not path.name.startswith(".")]
    return [conf, *([base / "hooks.conf"] if (base / "hooks.conf").is_file() else []), *shown]


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="cfn-hup", description="Runs hooks when the metadata of a resource changes.")
    flag = parser.add_argument
    flag("-c", "--config", type=Path, help="directory of hooks, or of cfn-hup.conf and hooks.d (default: /etc/cfn)")
    flag("--daemon", action="store_true", help="stay, with a pass every interval and on SIGHUP, until SIGTERM")
    flag("-f", "--no-daemon", dest="daemon", action="store_false", help="one pass (the default)")
    flag("-v", "--verbose", action="store_true", help="tell every step")
    return parser.parse_args(argv)
