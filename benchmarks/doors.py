"""The old command names: templates, one key, phases of scripts, an init document; the CPU of the whole tree."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import cost, ours, peers
from benchmarks.cost import Command
from benchmarks.scratch import Bench
from benchmarks.server import CHECKOUT
from benchmarks.table import Row

TEMPLATES = (1, 100, 1000)
PHASES = ("pre-configure", "configure", "post-configure", "migration")
SCRIPTS, FILES = 10, 100
NOTHING = "#!/bin/sh\nexit 0\n"
TEMPLATE = "# {{name}}\n{{#servers}}\nserver {{host}} {{port}}\n{{/servers}}\n{{^debug}}quiet{{/debug}}\n"
METADATA = {"name": "web", "servers": [{"host": f"192.0.2.{n}", "port": 80} for n in range(1, 6)], "debug": False}
SYSTEM = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Side:
    """A directory of programs by their old names, and a place of its own."""

    place: Path
    programs: Path

    def command(self, name: str, *arguments: str, prefix: tuple[str, ...] = (), **variables: str) -> Command:
        env = {"PATH": f"{self.programs}:{SYSTEM}", "LANG": "C.UTF-8", "HOME": str(self.place), **variables}
        return Command((*prefix, str(self.programs / name), *arguments), env, self.place / "log")


def measure(bench: Bench) -> list[Row]:
    repeats = 3 if bench.quick else 9
    rows: list[Row] = []
    for count in TEMPLATES:
        rows += _templates(bench, count, repeats)
    rows.append(_compared(bench, "os-apply-config --key", _key, repeats))
    rows += _phases(bench, repeats)
    rows.append(_compared(bench, f"cfn-init, {FILES} files", _init, repeats))
    return rows


def _sides(bench: Bench) -> tuple[Side, Side]:
    """Ours, with links as `agent doors install` makes them, and theirs."""
    place = bench.place()
    programs = place / "bin"
    programs.mkdir()
    agent = programs / "agent"
    agent.write_text(
        f"#!{ours.python()}\nimport sys\nsys.path.insert(0, {str(CHECKOUT)!r})\n"
        "from agent.cli.main import entry\nentry()\n"
    )
    agent.chmod(0o755)
    for name in ("os-apply-config", "os-refresh-config", "cfn-init"):
        (programs / name).symlink_to(agent)
    return Side(place, programs), Side(bench.place(), peers.environment() / "bin")


def _best(commands: tuple[Command, Command], repeats: int) -> tuple[float, float]:
    """The least CPU of each side in milliseconds, the sides taking turns."""
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for command, costs in zip(commands, spent, strict=True):
            done = cost.run(command, timeout_s=120)
            assert done.status == 0, command.last_words()
            costs.append(done.cpu_s * 1000)
    return min(spent[0]), min(spent[1])


def _row(what: str, we: float, they: float, wanted: float = 2.0) -> Row:
    return Row(f"{what}, CPU", f"{we:.0f} ms", f"{they:.0f} ms", they / we, f"{wanted:g} times")


def _compared(bench: Bench, what: str, arrange: Callable[[Side], Command], repeats: int) -> Row:
    we, they = _sides(bench)
    return _row(what, *_best((arrange(we), arrange(they)), repeats))


# ---------------------------------------------------------------------------------------------------- templates


def _templates(bench: Bench, count: int, repeats: int) -> list[Row]:
    sides = _sides(bench)
    for side in sides:
        _lay_templates(side, count)
    fresh = _fresh(sides, max(2, repeats // 3))
    commands = _applied(sides[0], "out"), _applied(sides[1], "out")
    for command in commands:
        cost.run(command, timeout_s=120)
    name = f"os-apply-config, {count} template{'s' if count > 1 else ''}"
    return [_row(f"{name}, fresh", *fresh), _row(f"{name}, unchanged", *_best(commands, repeats))]


def _lay_templates(side: Side, count: int) -> None:
    (side.place / "metadata.json").write_text(json.dumps(METADATA))
    for number in range(count):
        path = side.place / f"templates/etc/{number % 10}/{number}.conf"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {number}\n{TEMPLATE}")


def _fresh(sides: tuple[Side, Side], repeats: int) -> tuple[float, float]:
    """The least of some runs, each into a directory of its own."""
    runs = [
        _best((_applied(sides[0], f"new{number}"), _applied(sides[1], f"new{number}")), 1) for number in range(repeats)
    ]
    return min(we for we, _ in runs), min(they for _, they in runs)


def _applied(side: Side, output: str) -> Command:
    templates, metadata = str(side.place / "templates"), str(side.place / "metadata.json")
    return side.command("os-apply-config", "-t", templates, "-o", str(side.place / output), "-m", metadata)


def _key(side: Side) -> Command:
    path = side.place / "metadata.json"
    path.write_text(json.dumps(METADATA))
    return side.command("os-apply-config", "-m", str(path), "--key", "servers.0.host", "--type", "netaddress")


# ------------------------------------------------------------------------------------------------------- phases


def _phases(bench: Bench, repeats: int) -> list[Row]:
    we, they = _sides(bench)
    for side in (we, they):
        _lay_scripts(side)
    loop = f"for d in {' '.join(PHASES)}; do for f in {shlex.quote(str(we.place))}/base/$d.d/*; do $f; done; done"
    shell = Command(("/bin/sh", "-c", loop), {"PATH": SYSTEM}, we.place / "log")
    alone, _ = _best((shell, shell), repeats)
    name = f"os-refresh-config, {len(PHASES)} x {SCRIPTS} scripts that do nothing"
    rows = [_row(name, *_best((_refreshed(we), _refreshed(they)), repeats), wanted=10)]
    return [*rows, Row("the same scripts in a shell loop, CPU", f"{alone:.0f} ms")]


def _lay_scripts(side: Side) -> None:
    for phase in PHASES:
        for number in range(SCRIPTS):
            path = side.place / f"base/{phase}.d/{number:02}-nothing"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(NOTHING)
            path.chmod(0o755)


def _refreshed(side: Side) -> Command:
    base = str(side.place / "base")
    lock = str(side.place / "lock")
    return side.command(
        "os-refresh-config", "--lockfile", lock, OS_REFRESH_CONFIG_BASE_DIR=base, TMPDIR=str(side.place)
    )


# -------------------------------------------------------------------------------------------------------- init


def _init(side: Side) -> Command:
    """cfn-init knows its places by heart, so they are mounted over, which costs both sides the same."""
    for name in ("lib/heat-cfntools", "cache", "log"):
        (side.place / "var" / name).mkdir(parents=True)
    files = {f"{side.place}/etc/{n}": {"content": f"{n}\n" * 20, "mode": "000640"} for n in range(FILES)}
    document = {"AWS::CloudFormation::Init": {"config": {"files": files}}}
    data = side.place / "var/lib/heat-cfntools/cfn-init-data"
    data.write_text(json.dumps(document))
    binds = [f"mount --bind {side.place}/var/{name} /var/{name}" for name in ("lib", "cache", "log")]
    namespace = ("unshare", "--mount", "sh", "-ec", " && ".join([*binds, 'exec "$@"']), "sh")
    return side.command("cfn-init", prefix=namespace)
