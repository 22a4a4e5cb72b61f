"""What a hook costs beside its tool called by hand, and beside the hook of heat-agents: three sides that take turns."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import ours, peers
from benchmarks.environments import environment
from benchmarks.scratch import Bench
from benchmarks.server import CHECKOUT
from benchmarks.table import Row

TARGETS = {"ansible": "ours 100 ms"}
PLAY = [{"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": [{"debug": {"msg": "hello"}}]}]
STATE = "hello:\n  test.succeed_without_changes: []\n"
NOTHING = shutil.which("true") or "/bin/true"
LONGEST_S = 60.0
FINE = (0, 2)  # puppet by hand ends with 2 when it changed something


@dataclass(frozen=True)
class Case:
    """One group: its config, how its tool is called by hand ({config} is a file of it), what both hooks are told."""

    group: str
    config: Any
    by_hand: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    python: str = ""  # of their hook, where it is not the peers'
    repeats: int = 30


def measure(bench: Bench) -> list[Row]:
    cases = [case for case in _cases(bench.place()) if not bench.quick or case.repeats > 10]
    return [_until_it_runs(bench), *(_row(bench, case) for case in cases)]


def _cases(place: Path) -> list[Case]:
    """What can be run here; a tool that does nothing stands in where only the hook is of interest."""
    ansible, salt = environment("ansible") / "bin", environment("salt") / "bin"
    minion = place / "minion"
    names = ("cachedir", "pki_dir", "sock_dir", "extension_modules")
    minion.write_text(json.dumps({"id": "guest", **{name: str(place / name) for name in names}}))
    salt_call = (str(salt / "salt-call"), "--local", f"--config-dir={place}", "--file-root={directory}")
    on_ansible = {
        "HEAT_ANSIBLE_CMD": str(ansible / "ansible-playbook"),
        "ANSIBLE_PYTHON_INTERPRETER": str(ansible / "python"),
    }
    on_salt = {"HEAT_SALT_CMD": str(salt / "salt-call"), "SALT_MINION_CONFIG": str(minion)}
    cases = [
        Case("script", "#!/bin/sh\nexit 0\n", ("{config}",), repeats=100),
        Case("json-file", {str(place / "a.json"): {"a": 1}}),
        Case("hiera", {"datafiles": {"a": {"b": 1}}}, (NOTHING,), {"HEAT_HIERA_ELEMENT_CHECK_CMD": "echo empty"}),
        Case("cfn-init", {"config": {}}, (NOTHING,), {"HEAT_CFN_INIT_CMD": NOTHING}),
        Case("apply-config", "", (NOTHING,), {"HEAT_APPLY_CONFIG_CMD": NOTHING}),
        Case("chef", '["recipe[a]"]', (NOTHING,), {"HEAT_CHEF_CMD": NOTHING, "PATH": _with_chef(place)}),
        Case("docker-compose", {"a": {"image": "b"}}, (NOTHING,), {"HEAT_DOCKER_COMPOSE_CMD": NOTHING}),
        Case(
            "ansible",
            json.dumps(PLAY),
            (on_ansible["HEAT_ANSIBLE_CMD"], "-i", "localhost,", "{config}"),
            on_ansible,
            repeats=7,
        ),
        Case("salt", STATE, (*salt_call, "state.apply", "config"), on_salt, str(salt / "python"), 5),
    ]
    if puppet := shutil.which("puppet"):
        by_hand = (puppet, "apply", "--color", "false", "--detailed-exitcodes", "--logdest", "console", "{config}")
        cases.append(Case("puppet", "notice('hello')\n", by_hand, {"HEAT_PUPPET_CMD": puppet}, repeats=3))
    else:
        print("puppet is not here and not measured", file=sys.stderr)
    return cases


def _with_chef(place: Path) -> str:
    """A PATH with chef-client, which their hook calls by this name, and a host name, which a sandbox may lack."""
    programs = place / "bin"
    programs.mkdir()
    (programs / "chef-client").symlink_to(NOTHING)
    (programs / "hostname").write_text("#!/bin/sh\necho guest.example.test\n")
    (programs / "hostname").chmod(0o755)
    return f"{programs}:{os.defpath}"


def _row(bench: Bench, case: Case) -> Row:
    hand, we, they = (min(lap.seconds for lap in laps) for laps in _laps(bench, case))
    beside = f"beside {_ms(hand)} of its tool" if case.by_hand else "no tool"
    return _beside(f"hook {case.group}, {beside}", we - hand, they - hand, TARGETS.get(case.group, ""))


def _until_it_runs(bench: Bench) -> Row:
    """The script hook up to the script's first command, which opens a pipe that we wait at."""
    pipe = bench.place() / "pipe"
    os.mkfifo(pipe)
    case = Case("script", f"#!/bin/sh\n: > {pipe}\n", ("{config}",), repeats=100)
    hand, we, they = (min(lap.before_s for lap in laps) for laps in _laps(bench, case, pipe))
    return _beside("hook script, until the script runs", we - hand, they - hand, "ours 3 ms")


def _laps(bench: Bench, case: Case, pipe: Path | None = None) -> tuple[list[Lap], ...]:
    """By hand, ours, theirs: in turns."""
    place = bench.place()
    hand, we, they = _hand(place, case), _ours(place, case), _theirs(place, case)
    with we:
        turns = [(hand.run(pipe), we.run(pipe), they.run(pipe)) for _ in range(case.repeats)]
    return tuple(list(laps) for laps in zip(*turns, strict=True))


def _beside(measured: str, we: float, they: float, target: str) -> Row:
    return Row(measured, _ms(we), _ms(they), they / we if min(we, they) > 0 else None, target)


@dataclass(frozen=True)
class Lap:
    """One run: its seconds in all, and until the pipe was opened."""

    seconds: float
    before_s: float = 0.0


@dataclass(frozen=True)
class _Program:
    """A program to run to its end, with a deployment on stdin for a hook; an error when it fails."""

    argv: list[str]
    env: dict[str, str]
    stdin: Path
    deployment: dict[str, Any] | None = None

    def run(self, pipe: Path | None) -> Lap:
        if not self.argv:
            return Lap(0.0)
        if self.deployment:
            self.stdin.write_text(json.dumps(_anew(self.deployment)))
        log = self.stdin.with_name("said")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, str(self.stdin), os.O_RDONLY, 0),
            *((os.POSIX_SPAWN_OPEN, fd, str(log), flags, 0o600) for fd in (1, 2)),
        ]
        began = time.monotonic()
        pid = os.posix_spawn(self.argv[0], self.argv, self.env, file_actions=actions)
        opened = _opened(pipe)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if status not in FINE:
            raise RuntimeError(f"{self.argv} ended with {status}: {log.read_text(errors='replace')[-1500:]}")
        return Lap(time.monotonic() - began, opened - began)


class _Warm:
    """Our hook, from a process that stays."""

    def __init__(self, place: Path, env: Mapping[str, str], deployment: dict[str, Any]) -> None:
        argv = [ours.python(), "-m", "benchmarks.warm", str(place)]
        self._deployment = deployment
        self._log = place / "log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                argv, env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def run(self, pipe: Path | None) -> Lap:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(_anew(self._deployment)) + "\n")
        self._process.stdin.flush()
        opened = _opened(pipe)
        began, ended, status = self._process.stdout.readline().split() or ["0", "0", "crash"]
        if status != "0":
            raise RuntimeError(f"our hook ended with {status}: {self._log.read_text()[-1500:]}")
        return Lap(float(ended) - float(began), opened - float(began))

    def __enter__(self) -> None:
        """It runs."""

    def __exit__(self, *_: object) -> None:
        self._process.communicate(timeout=LONGEST_S)


def _opened(pipe: Path | None) -> float:
    if pipe:
        os.close(os.open(pipe, os.O_RDONLY))
    return time.monotonic()


def _hand(place: Path, case: Case) -> _Program:
    directory = place / "hand"
    directory.mkdir()
    config = directory / "config.sls"
    config.write_text(case.config if isinstance(case.config, str) else json.dumps(case.config))
    config.chmod(0o700)
    argv = [word.format(config=config, directory=directory) for word in case.by_hand]
    return _Program(argv, _environment(place, case), config)


def _ours(place: Path, case: Case) -> _Warm:
    env = {**_environment(place, case), "PYTHONPATH": str(CHECKOUT)}
    return _Warm(place, env, _deployment(case))


def _theirs(place: Path, case: Case) -> _Program:
    told = place / "deployment.json"
    (program,) = peers.unpacked().glob(f"heat-config-{case.group}/install.d/hook-{case.group}.py")
    upper = case.group.upper().replace("-", "_")
    below = {f"HEAT_{upper}_WORKING": f"{place}/working", f"HEAT_{upper}_OUTPUTS": f"{place}/outputs"}
    (place / "working/bench").mkdir(parents=True)
    others = {"HEAT_PUPPET_LOGDIR": f"{place}/logs", "HEAT_CFN_INIT_LAST_METADATA_DIR": f"{place}/last"}
    data = {"HEAT_PUPPET_HIERA_DATADIR": f"{place}/data", "HEAT_HIERA_CONFIG": f"{place}/hiera.yaml"}
    python = case.python or str(peers.environment() / "bin/python")
    return _Program(
        [python, str(program)], {**_environment(place, case), **below, **others, **data}, told, _deployment(case)
    )


def _deployment(case: Case) -> dict[str, Any]:
    return {
        "name": "bench",
        "group": case.group,
        "creation_time": "2030-01-01T00:00:00Z",
        "config": case.config,
        "inputs": [{"name": "deploy_action", "type": "String", "value": "CREATE"}],
        "outputs": [],
        "options": {},
    }


def _anew(deployment: dict[str, Any]) -> dict[str, Any]:
    """The same with an id of its own: no id is deployed twice."""
    return {**deployment, "id": str(uuid.uuid4())}


def _environment(place: Path, case: Case) -> dict[str, str]:
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": str(place), **case.variables}


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if abs(seconds) < 0.1 else f"{seconds * 1000:.0f} ms"
