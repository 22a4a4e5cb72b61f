"""os-collect-config without a network: local sources, the cache, the command, settings in files, flags, variables."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from tests.fuzz import material
from tests.fuzz.guest import CALLS, File, Step
from tests.fuzz.judge import STDOUT, TREE, Expected

CACHE = "var/lib/os-collect-config"
LOCAL, HEAT = "var/lib/os-collect-config/local-data", "var/lib/heat-cfntools/cfn-init-data"
NAMES = ("a.json", "b", "z.conf", ".hidden", "10", "9", "é")
COMMANDS = (
    f'echo "ran $OS_CONFIG_FILES" >> {CALLS}',
    "exit 3",
    "kill -9 $$$$",
    f"cat $$(echo $$OS_CONFIG_FILES | tr : ' ') >> {CALLS}",
    "false",
)


@st.composite
def settings(draw: st.DrawFn) -> tuple[list[str], dict[str, str], bytes]:
    """Flags, variables and a file that say where things are and what to run."""
    flags: list[str] = []
    environ: dict[str, str] = {}
    lines = ["[DEFAULT]"]
    if not material.rare(draw, 5):
        command = draw(st.sampled_from(COMMANDS))
        match draw(st.integers(0, 3)):
            case 0:
                flags += [draw(st.sampled_from(("-c", "--command"))), command]
            case 1:
                environ["OS_DEFAULT__COMMAND"] = command
                flags += ["-c", draw(st.sampled_from(COMMANDS))] if material.rare(draw, 3) else []
            case _:
                lines.append(f"command = {command}")
    flags += draw(st.sampled_from((["--one-time"], ["--one-time"], ["--force"], ["--one-time", "--noforce"])))
    if material.rare(draw, 8):
        flags += draw(
            st.sampled_from((["--print"], ["--print-cachedir"], ["--wrong"], ["--cachedir", "/srv/cache"], ["-i", "x"]))
        )
    if material.rare(draw, 6):
        lines.append(
            draw(
                st.sampled_from(
                    ("cachedir = /srv/cache", "backup_cachedir=/srv/backup", "collectors = local", "splay = 0")
                )
            )
        )
    if material.rare(draw, 6):
        lines += [
            "[heat_local]",
            draw(st.sampled_from(("path = /srv/one.json", "path=/missing", "path = $backup_cachedir/x"))),
        ]
    return flags, environ, "\n".join([*lines, ""]).encode()


def sources(draw: st.DrawFn) -> list[str]:
    return draw(
        st.sampled_from(
            (
                ["heat_local", "local"],
                ["local", "heat_local"],
                ["local"],
                ["heat_local"],
                ["unknown"],
                ["heat_local", "heat_local"],
            )
        )
    )


def documents(draw: st.DrawFn) -> dict[str, File | None]:
    files: dict[str, File | None] = {}
    if draw(st.booleans()):
        files[HEAT] = File(draw(material.document()), 0o600)
    if draw(st.booleans()):
        files[LOCAL] = File(directory=True, mode=0o777 if material.rare(draw, 20) else 0o755)
        for name in draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True)):
            mode = 0o666 if material.rare(draw, 25) else 0o644
            files[f"{LOCAL}/{name}"] = File(draw(material.document()), mode)
    if material.rare(draw, 5):
        files["srv/one.json"] = File(draw(material.document()))
    return files


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Step, ...]:
    """One round; at times a second and a third, with a document changed or gone."""
    flags, environ, configuration = draw(settings())
    argv = (*flags, *sources(draw))
    files: dict[str, File | None] = {"var/lib/os-collect-config": File(directory=True, mode=0o755)}
    files |= {"etc/os-collect-config.conf": File(configuration, 0o600), **documents(draw)}
    steps = [Step("os-collect-config", argv, files, environ)]
    if material.rare(draw, 2):
        steps.append(Step("os-collect-config", argv, {}, environ))
    if material.rare(draw, 3):
        more = {f"{LOCAL}/{draw(st.sampled_from(NAMES))}": File(json.dumps(draw(material.mapping)).encode())}
        steps.append(Step("os-collect-config", argv, more, environ))
    return tuple(steps)


EXPECTED = (
    Expected(
        "`--print-cachedir` beside a source",
        lambda d: "--print-cachedir" in d.step.argv and b"no such source" in d.ours.stderr,
    ),
    Expected(
        "a source that is named twice",
        lambda d: d.step.argv[-2:] == ("heat_local", "heat_local") and {STDOUT, TREE} >= d.kinds,
    ),
    Expected("a name that is no setting is the shell's", lambda d: b"NoSuchOptError" in d.theirs.stderr),
    Expected(
        "a flag's value that is no number",
        lambda d: (d.theirs.status, d.ours.status) == (1, 2) and b"invalid number of seconds" in d.ours.stderr,
    ),
    Expected("one bad document ends the program", lambda d: b"file skipped" in d.ours.stderr),
)
UNLIKE = ("var/run/os-collect-config", "srv/backup", "srv/cache", "var/lib/os-collect-config")


def ignored(name: str) -> bool:
    """Directories of the cache and its copy are 0700 here; the copy holds the cache and nothing else."""
    return name in UNLIKE or name.startswith(
        ("var/log/", "var/run/os-collect-config/local-data", "srv/backup/local-data")
    )
