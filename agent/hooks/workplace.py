"""What every hook stands on: its directories, its environment, its outputs, and a program run with all bounds."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO

from agent import documents, layout, model, process
from agent.hooks.user import User
from agent.model import Deployment, Json, JsonMap, Outcome, Output
from agent.process import Finished
from agent.settings import Settings
from agent.state import Places

RUN_MARK = "OS_DEPLOY_AGENT_RUN"
"""Environment variable by which everything that a hook started can be found after its runner was killed."""

OUTPUT_FILE_LIMIT = 1 << 20
REPLY_LIMIT = 16 << 20
LIMITS = {"memory": "RLIMIT_AS", "tasks": "RLIMIT_NPROC", "cpu_time": "RLIMIT_CPU", "open_files": "RLIMIT_NOFILE"}


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
    templates: Path = Path(layout.TEMPLATES)

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
        templates=Path(layout.templates(environ, settings.root, settings.templates_dir)[0]),
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


def for_user(place: Workplace, user: User) -> Workplace:
    """The same workplace for another user, with directories of that user's own beside the usual ones."""
    return replace(
        place,
        working=place.working.with_name(f"{place.working.name}.{user.name}"),
        outputs=place.outputs.with_name(f"{place.outputs.name}.{user.name}"),
        user=user,
    )


def run_mark(key: str, settings: Settings) -> str:
    """The value of RUN_MARK: one deployment of one agent, since another below its own --root may have the same id."""
    return str(settings.path(settings.deployed_dir) / f"{key}.json")


def prepare(place: Workplace, deployment: Deployment) -> None:
    """Make the directories (0700) and clear outputs that an earlier run left. Raises OSError."""
    for directory in (place.working, place.outputs):
        directory.parent.mkdir(parents=True, exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        if place.user:
            os.chown(directory, *place.user.owner, follow_symlinks=False)
    for output in deployment.outputs:
        _clear(output_file(place, deployment, output))


def _clear(path: Path) -> None:
    """Remove an output of an earlier run; a directory, or what no file can be called, is returned for none anyway."""
    try:
        path.unlink(missing_ok=True)
    except OSError as exc:
        if exc.errno not in (errno.EISDIR, errno.ENAMETOOLONG):
            raise


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


def outcome(place: Workplace, deployment: Deployment, finished: Finished, what: str) -> Outcome:
    """The outcome of a program that was run: its status and streams, the output files, and why it failed."""
    stderr = finished.stderr.text()
    if finished.timed_out:
        note = timed_out(what, deployment, place)
        return Outcome(model.STATUS_TIMEOUT, finished.stdout.text(), f"{stderr}\n{note}\n".lstrip("\n"))
    if finished.signal and not stderr:
        stderr = f"{what} for '{deployment.name}' ended by signal {finished.signal}\n"
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
    """An output to read: a regular file, since a pipe or a device might never end.

    What another user put there must be that user's own file: we could read much more.
    """
    follow = os.O_NOFOLLOW if place.user else 0
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | follow)
    known = os.fstat(fd)
    if not stat.S_ISREG(known.st_mode) or (place.user and known.st_uid != place.user.identity.uid):
        os.close(fd)
        raise PermissionError(errno.EACCES, "no regular file, or not of the user's own", str(path))
    return os.fdopen(fd, "rb")


def output_file(place: Workplace, deployment: Deployment, output: Output) -> Path:
    return Path(f"{place.outputs_path(deployment)}.{output.name}")


def _metadata(settings: Settings) -> JsonMap:
    """What templates are rendered with: the last good documents, what cloud-init left below the collectors' own."""
    from agent.apply import values  # noqa: PLC0415 - for those who ask

    kept = documents.kept(Places(settings.path(settings.state_dir), settings.path(settings.deployed_dir)))
    order = {name: number for number, name in enumerate(settings.collectors)}
    in_order = sorted(kept, key=lambda document: order.get(document.source, -1))
    return values.of_documents(in_order, settings.deployment_key, settings.root)


def _directory(named: str | None, otherwise: Path) -> Path:
    return Path(named) if named else otherwise
