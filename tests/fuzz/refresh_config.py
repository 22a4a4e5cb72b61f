"""os-refresh-config and dib-run-parts: phase trees of scripts, environment files, names of all kinds."""

from __future__ import annotations

import re

from hypothesis import strategies as st

from tests.fuzz import material
from tests.fuzz.guest import CALLS, File, Step
from tests.fuzz.judge import Difference, Expected

BASE = "opt/refresh"
DIRECTORIES = ("pre-configure.d", "configure.d", "post-configure.d", "migration.d", "error.d")
NAMES = (
    "10-a",
    "2-b",
    "02-c",
    "a",
    "B",
    "_",
    "-1",
    "0",
    "00",
    "1.5-x",
    "99-é",
    "x.sh",
    "50-heat",
    "50-Heat",
    "9999999999999999999999",
    "10",
    "10-",
)
CALL = f'printf "%s|%s|%s|%s\\n" "${{0##*/}}" "$PWD" "${{MADE-unset}}" "$(umask)" >> {CALLS}\n'
ENDS = ("", "", "", "exit 1", "exit 3", "kill -9 $$", "exit 255", "false", "cd / && umask 077", "export MADE=leak")
ENVIRONMENT = (
    "export MADE=1",
    "MADE=2",
    "export MADE='two words'",
    "cd /srv",
    "umask 027",
    "exit 4",
    "false",
    "echo told",
    "export PATH=/usr/bin:/bin",
    "unset LC_ALL",
    'export MADE="$MADE+"',
    "set +e; false; export MADE=after",
    "broken (",
    "echo $UNSET_NAME",
    "export MADE=$(printf 'a\\nb')",
    "f() { :; }; export -f f",
)
REGEXES = ("", "^[0-9]+-[a-z]+$", ".*", "^a", "[[:digit:]]", "^(a|10-a)$", "^[0-9A-Za-z_.-]+$", "(", "é", "^\\.")


@st.composite
def script(draw: st.DrawFn) -> File:
    first = "#!/bin/sh\n"
    if material.rare(draw, 12):
        first = draw(st.sampled_from(("", "#!/bin/bash\n", "#!/missing\n", "#!/bin/sh -e\n", "#! /bin/sh\n", "\n")))
    mode = draw(st.sampled_from((0o644, 0o111, 0o600, 0o700))) if material.rare(draw, 8) else 0o755
    end = draw(st.sampled_from(ENDS)) if material.rare(draw, 4) else ""
    return File(f"{first}{CALL}{end}\n".encode(), mode)


@st.composite
def environment_file(draw: st.DrawFn) -> File:
    return File("\n".join(draw(st.lists(st.sampled_from(ENVIRONMENT), max_size=2))).encode())


def directory(draw: st.DrawFn, where: str) -> dict[str, File | None]:
    names = draw(st.lists(st.sampled_from(NAMES), max_size=3, unique=True))
    files: dict[str, File | None] = {where: File(directory=True, mode=0o755)}
    files |= {f"{where}/{name}": draw(script()) for name in names}
    if material.rare(draw, 10):
        files[f"{where}/linked"] = File(
            link=draw(st.sampled_from((names[0] if names else "x", "/missing", "/bin/true")))
        )
    return files


def surroundings(draw: st.DrawFn) -> dict[str, File | None]:
    if not material.rare(draw, 3):
        return {}
    names = draw(
        st.lists(st.sampled_from(("10-env", "2.sh", "b", "A", "é", "x y")), min_size=1, max_size=2, unique=True)
    )
    return {f"{BASE}/environment.d/{name}": draw(environment_file()) for name in names}


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Step, ...]:
    """A whole tree, refreshed."""
    files = surroundings(draw)
    for name in draw(st.lists(st.sampled_from(DIRECTORIES), max_size=4, unique=True)):
        files |= directory(draw, f"{BASE}/{name}")
    argv: list[str] = []
    if material.rare(draw, 8):
        argv += draw(
            st.sampled_from((["--print-base"], ["--print-phases"], ["--log-level", "ERROR"], ["--log-level", "x"]))
        )
    if material.rare(draw, 8):
        argv += draw(
            st.sampled_from((["--timeout", "15"], ["--timeout=0"], ["--timeout", "x"], ["--lockfile", "/srv/lock"]))
        )
    environ = {"OS_REFRESH_CONFIG_BASE_DIR": f"/{BASE}"}
    return (Step("os-refresh-config", tuple(argv), files, environ),)


@st.composite
def parts(draw: st.DrawFn) -> tuple[Step, ...]:
    """One directory."""
    files = surroundings(draw) | directory(draw, f"{BASE}/x.d")
    environ: dict[str, str] = {}
    if material.rare(draw, 5):
        environ["RUN_PARTS_REGEX"] = draw(st.sampled_from(REGEXES))
    where = draw(
        st.sampled_from((f"/{BASE}/x.d", f"/{BASE}/x.d", f"../{BASE}/x.d", f"/{BASE}/x.d/", f"/{BASE}/missing", ""))
    )
    listing = ["--list"] if material.rare(draw, 4) else []
    return (Step("dib-run-parts", (*listing, where), files, environ),)


def _fits(name: str) -> bool:
    return re.fullmatch(r"[0-9A-Za-z_.\\-]+", name) is not None


def _no_environment_fits(difference: Difference) -> bool:
    names = [name.rpartition("/")[2] for name in difference.files if f"{BASE}/environment.d/" in name]
    return difference.theirs.status == 1 and bool(names) and not any(map(_fits, names))


def _goes_on(difference: Difference) -> bool:
    """A file of environment.d told their shell to go on after a failure."""
    files = (file for name, file in difference.files.items() if "environment.d" in name)
    return difference.theirs.status == 0 and any(b"set +e" in file.content for file in files)


EXPECTED: tuple[Expected, ...] = (
    Expected("`set +e` in `environment.d`", _goes_on),
    Expected("`RUN_PARTS_REGEX`", lambda d: d.ours.status == 1 and b"no script is run" in d.ours.stderr),
    Expected("an `environment.d` in which no name fits ends the run", _no_environment_fits),
)


def ignored(name: str) -> bool:
    return name.startswith(("var/log/", "var/tmp/profiledir."))
