"""What every hook stands on: its directories, its environment, its outputs, and a program run with all bounds."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import stat
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, cast

from agent import merge, model, process, state
from agent.errors import MetadataError
from agent.model import Deployment, Json, JsonMap, Outcome, Output
from agent.process import Finished, Identity
from agent.settings import Settings
from agent.state import Places

RUN_MARK = "OS_DEPLOY_AGENT_RUN"
"""Environment variable by which everything that a hook started can be found after its runner was killed."""

OWN = """import sys
sys.path[:0] = sys.argv[1:2]
from agent.cli import main
sys.exit(main.main(sys.argv[3:], sys.argv[2]))"""
OUTPUT_FILE_LIMIT = 1 << 20
REPLY_LIMIT = 16 << 20


LIMITS = {"memory": "RLIMIT_AS", "tasks": "RLIMIT_NPROC", "cpu_time": "RLIMIT_CPU", "open_files": "RLIMIT_NOFILE"}


@dataclass(frozen=True, slots=True)
class User:
    """Somebody else that a hook's program is run as."""

    name: str
    home: str
    shell: str
    identity: Identity

    @property
    def owner(self) -> tuple[int, int]:
        return self.identity.uid, self.identity.gid

    def variables(self) -> dict[str, str]:
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name, "SHELL": self.shell or "/bin/sh"}


@dataclass(frozen=True, slots=True)
class Workplace:
    """Where and within which bounds one deployment is run. Times are seconds, sizes bytes."""

    working: Path
    outputs: Path
    timeout_s: float
    mark: str = ""
    grace_s: float = 10.0
    keep: int = 450_000
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)
    log: Callable[[bytes], object] | None = None
    root: Path = Path("/")
    user: User | None = None
    limits: Mapping[str, int] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)
    metadata: Callable[[], JsonMap] = field(default=dict, repr=False)

    def path(self, variable: str, otherwise: str) -> Path:
        """The path that an environment variable names, taken as it is, else `otherwise` below the root."""
        return _directory(self.environ.get(variable), self.root / otherwise.lstrip("/"))

    def outputs_path(self, deployment: Deployment) -> str:
        """The prefix of output files: `<prefix>.<output name>` holds the text of an output."""
        return str(self.outputs / deployment.key)


def workplace(
    deployment: Deployment,
    group: str,
    settings: Settings,
    environ: Mapping[str, str],
    log: Callable[[bytes], object] | None = None,
) -> Workplace:
    """The workplace of a group. HEAT_<GROUP>_WORKING and _OUTPUTS win and are taken as they are."""
    working, outputs = directories(group, settings, environ)
    return Workplace(
        working=working,
        outputs=outputs,
        mark=run_mark(deployment.key, settings),
        timeout_s=settings.hook_timeout if deployment.manner.timeout_s is None else deployment.manner.timeout_s,
        grace_s=settings.kill_grace,
        keep=settings.signal_limit,
        metadata=partial(_metadata, settings),
        environ=environ,
        log=log,
        root=settings.path("/"),
        limits={LIMITS[name]: number for name, number in deployment.manner.limits.items()},
    )


def directories(group: str, settings: Settings, environ: Mapping[str, str]) -> tuple[Path, Path]:
    """Where the hook of a group works, and where its outputs are."""
    variable = "HEAT_" + group.upper().replace("-", "_")
    name = f"heat-config-{group}"
    return (
        _directory(environ.get(f"{variable}_WORKING"), settings.path(settings.working_dir) / name),
        _directory(environ.get(f"{variable}_OUTPUTS"), settings.path(settings.outputs_dir) / name),
    )


def for_user(place: Workplace, name: str) -> Workplace:
    """The same workplace for the user `name` (or uid), with directories of that user's own beside the usual ones.

    Raises LookupError, saying what to do, when there is no such user or we may not become it.
    """
    import pwd  # noqa: PLC0415 - for few deployments

    try:
        known = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except (KeyError, OverflowError):
        raise LookupError(
            f"its option run_as names '{name}', who is no user of this guest; add the user first"
        ) from None
    if known.pw_uid == os.geteuid():
        return place
    if os.geteuid() != 0:
        raise LookupError(f"its option run_as names '{name}' and this agent is not root; run it as root")
    identity = Identity(known.pw_uid, known.pw_gid, tuple(os.getgrouplist(known.pw_name, known.pw_gid)))
    return replace(
        place,
        working=place.working.with_name(f"{place.working.name}.{known.pw_name}"),
        outputs=place.outputs.with_name(f"{place.outputs.name}.{known.pw_name}"),
        user=User(known.pw_name, known.pw_dir, known.pw_shell, identity),
    )


def run_mark(key: str, settings: Settings) -> str:
    """The value of RUN_MARK: one deployment of one agent, since another below its own --root may have the same id."""
    return str(settings.path(settings.deployed_dir) / f"{key}.json")


def command(place: Workplace, variable: str, *names: str) -> list[str]:
    """How to call the program that `variable` names, else the first of `names` on PATH; empty when there is none."""
    named = place.environ.get(variable)
    path = place.environ.get("PATH") or process.DEFAULT_PATH
    for argv in [[named], named.split()] if named else [[name] for name in names]:
        if argv and (found := shutil.which(argv[0], path=path)):
            return [os.path.abspath(found), *argv[1:]]  # noqa: PTH100 - the name matters, a link stays one
    return []


def own(place: Workplace, name: str) -> list[str]:
    """How to call our own door of an old command; empty below another root, which the old commands know nothing of."""
    return [sys.executable, "-I", "-c", OWN, str(Path(__file__).parents[2]), name] if place.root == Path("/") else []


def missing_tool(place: Workplace, deployment: Deployment, variable: str, advice: str) -> Outcome:
    """The outcome when `command` found nothing; `advice` says what is not there and what installs it."""
    named = place.environ.get(variable)
    why = f"{variable} names '{named}', which is no program on PATH; correct it or unset it" if named else advice
    return Outcome(model.STATUS_NOT_FOUND, "", f"{deployment.group} for '{deployment.name}' was not run: {why}\n")


def data_fault(deployment: Deployment, why: object) -> Outcome:
    """The outcome of a deployment whose config or inputs cannot be used."""
    return Outcome(model.STATUS_DATA, "", f"{deployment.group} for '{deployment.name}' was not run: {why}\n")


def input_values(deployment: Deployment) -> JsonMap:
    """The inputs by name, typed, but for Heat's password: it is for signals, and tools keep what they get."""
    return {name: known.value for name, known in deployment.inputs.items() if name != "deploy_password"}


def option(deployment: Deployment, name: str, joint: str = ",") -> str:
    """An option as text: the items of a list joined, empty when it is absent or null."""
    value = deployment.options.get(name)
    return joint.join(model.as_text(item) for item in (value if isinstance(value, list) else [value]))


def interpreter(program: str) -> str:
    """The Python that a program is a script of, "" when it is none."""
    try:
        with Path(program).open("rb") as file:
            first, second = (file.readline(4096).decode("utf-8", "replace") for _ in range(2))
        words = first.removeprefix("#!").split() if first.startswith("#!") else []
        if words and Path(words[0]).name == "env":
            words = [found for word in words[1:] if not word.startswith("-") and (found := shutil.which(word))]
        if words and Path(words[0]).name == "sh" and second.startswith("'''exec'"):  # pip, below a long path
            words = shlex.split(second)[1:]
    except (OSError, ValueError):  # it cannot be read, or its quotes do not close
        return ""
    return words[0] if words and "python" in Path(words[0]).name and os.access(words[0], os.X_OK) else ""


def host_name(place: Workplace, deployment: Deployment) -> str:
    """What `hostname -f` says, "" when it fails."""
    try:
        quick = replace(place, timeout_s=min(10.0, place.timeout_s), log=None)
        finished = run(quick, deployment, ["hostname", "-f"], variables={})
    except OSError:
        return ""
    return "" if finished.status or finished.timed_out else finished.stdout.text().strip()


def config_map(deployment: Deployment) -> JsonMap:
    """The config as a map: text is read as JSON or YAML, nothing is an empty map. Raises MetadataError."""
    config = deployment.config
    if isinstance(config, str) and config.strip():
        config = _from_text(config)
    if not config and not isinstance(config, (bool, int, float, list)):
        return {}
    if not isinstance(config, dict):
        raise MetadataError("its config is no map; give it as a map, or as text that holds one")
    return config


def _from_text(config: str) -> Json:
    try:
        return cast(Json, json.loads(config))
    except ValueError:
        import yaml  # noqa: PLC0415 - only for text that is no JSON

    try:
        # Through JSON, so that keys and dates become text as they are everywhere else.
        return cast(Json, json.loads(json.dumps(yaml.safe_load(config), default=str)))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as exc:
        mark = getattr(exc, "problem_mark", None)
        where = f" near line {mark.line + 1}" if mark else ""
        raise MetadataError(f"its config is neither JSON nor YAML{where}; correct it") from exc


def prepare(place: Workplace, deployment: Deployment) -> None:
    """Make the directories (0700) and clear outputs that an earlier run left. Raises OSError."""
    for directory in (place.working, place.outputs):
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        if place.user:
            os.chown(directory, *place.user.owner, follow_symlinks=False)
    for output in deployment.outputs:
        output_file(place, deployment, output).unlink(missing_ok=True)


def write_file(
    path: Path, data: bytes, mode: int, owner: tuple[int, int] | None = None, *, durable: bool = False
) -> None:
    """A file of exactly `data`, never wider than `mode`, whatever was at `path`. Raises OSError.

    Durable is for what must be there after a crash although the deployment will not be run again.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(fd, "wb") as file:
            if owner:
                os.fchown(fd, *owner)
            os.fchmod(fd, mode)
            file.write(data)
            if durable:
                file.flush()
                os.fsync(fd)
        temporary.rename(path)
        if durable:
            _sync_directory(path.parent)
    except OSError:
        with suppress(OSError):  # the error that matters is the first one
            temporary.unlink()
        raise


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def replace_file(path: Path, data: bytes) -> None:
    """A file of exactly `data`: a new one is 0600, one that is there keeps its mode and owner. Raises OSError."""
    try:
        path = path.resolve(strict=True)  # a link stays a link
        known = path.stat()
    except FileNotFoundError:
        return write_file(path, data, 0o600, durable=True)
    if stat.S_ISDIR(known.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    return write_file(path, data, stat.S_IMODE(known.st_mode), (known.st_uid, known.st_gid), durable=True)


def make_directories(path: Path) -> None:
    """A directory, 0700 when it is new; missing parents are made as usual. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def not_written(deployment: Deployment, path: Path, exc: OSError) -> Outcome:
    """The outcome when a file that the config asks for cannot be written."""
    reason = exc.strerror or str(exc)
    message = f"{deployment.group} for '{deployment.name}' could not write {path}: {reason}; what is in the way?\n"
    return Outcome(1, "", message)


def as_json(value: Json) -> bytes:
    """A value as the old hooks wrote it into files."""
    return json.dumps(value, indent=4, sort_keys=True).encode()


def run(
    place: Workplace,
    deployment: Deployment,
    argv: list[str],
    *,
    variables: Mapping[str, str],
    stdin: bytes = b"",
    keep_stdout: int | None = None,
    cwd: Path | None = None,
) -> Finished:
    """Run a hook's program, in the working directory or in `cwd`. Raises OSError when it cannot be started."""
    who = place.user.variables() if place.user else {}
    return process.run(
        argv,
        env=process.environment({**variables, **who, **place.told, RUN_MARK: place.mark}),
        cwd=cwd or place.working,
        timeout_s=place.timeout_s,
        grace_s=place.grace_s,
        stdin=stdin,
        keep=place.keep,
        keep_stdout=keep_stdout,
        tee=place.log,
        identity=place.user.identity if place.user else None,
        limits=place.limits,
    )


def run_tool(place: Workplace, deployment: Deployment, argv: list[str], cwd: Path = Path("/")) -> Outcome:
    """Run a tool that knows nothing of outputs; its status and streams are the outcome."""
    try:
        finished = run(place, deployment, argv, variables={}, cwd=cwd)
    except OSError as exc:
        return not_started(deployment, argv[0], exc)
    return outcome(place, replace(deployment, outputs=()), finished, deployment.group)


def not_started(deployment: Deployment, program: str, exc: OSError) -> Outcome:
    """The outcome when a tool is there and cannot be executed, or what it needs cannot be prepared."""
    if exc.filename and str(exc.filename) != program:
        return not_written(deployment, Path(exc.filename), exc)
    message = f"{program} for '{deployment.name}' could not be started: {exc.strerror}; see its first line and mode\n"
    return Outcome(model.STATUS_NOT_FOUND, "", message)


def outcome(place: Workplace, deployment: Deployment, finished: Finished, what: str) -> Outcome:
    """The outcome of a program that was run: its status and streams, the output files, and why it failed."""
    stderr = finished.stderr.text()
    if finished.timed_out:
        note = timed_out(what, deployment, place)
        return Outcome(model.STATUS_TIMEOUT, finished.stdout.text(), f"{stderr}\n{note}\n".lstrip("\n"))
    if finished.status > 128 and not stderr:
        stderr = f"{what} for '{deployment.name}' ended by signal {finished.status - 128}\n"
    return Outcome(finished.status, finished.stdout.text(), stderr, read_outputs(place, deployment))


def timed_out(what: str, deployment: Deployment, place: Workplace) -> str:
    return (
        f"{what} for '{deployment.name}' timed out after {place.timeout_s:g} s and was ended with all its processes; "
        "see the deployment's option timeout"
    )


def read_outputs(place: Workplace, deployment: Deployment) -> dict[str, Json]:
    """The declared outputs that have a file, as its text, unchanged; at most 1 MiB each, as Heat takes no more."""
    outputs: dict[str, Json] = {}
    for output in deployment.outputs:
        try:
            with _open_output(place, output_file(place, deployment, output)) as file:
                data = file.read(OUTPUT_FILE_LIMIT + 1)
        except OSError:  # a hook need not set every output
            continue
        outputs[output.name] = data[:OUTPUT_FILE_LIMIT].decode("utf-8", "replace")
    return outputs


def _open_output(place: Workplace, path: Path) -> IO[bytes]:
    """An output to read. What another user put there must be that user's own file: we could read much more."""
    if place.user is None:
        return path.open("rb")
    file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb")
    known = os.fstat(file.fileno())
    if not stat.S_ISREG(known.st_mode) or known.st_uid != place.user.identity.uid:
        file.close()
        raise PermissionError(errno.EACCES, "not a file of the user's own", str(path))
    return file


def output_file(place: Workplace, deployment: Deployment, output: Output) -> Path:
    return Path(f"{place.outputs_path(deployment)}.{output.name}")


def _metadata(settings: Settings) -> JsonMap:
    """The merge of the last good documents, in the order of the collectors, which what cloud-init left comes before."""
    kept = state.kept_documents(Places(settings.path(settings.state_dir), settings.path(settings.deployed_dir)))
    order = {name: number for number, name in enumerate(settings.collectors)}
    return merge.merge(sorted(kept, key=lambda document: order.get(document.source, -1)))


def _directory(named: str | None, otherwise: Path) -> Path:
    return Path(named) if named else otherwise
