"""kolla_set_configs: documents, what they copy, what is there already, and what is left of the run before."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import strategies as st

from tests.fuzz import material
from tests.fuzz.guest import File, Step
from tests.fuzz.judge import STATUS, TREE, Difference, Expected

HOME = "var/lib/kolla/config_files"
SOURCES = ("one.conf", "two.conf", "src/one.conf", "src/deep/x.sh", "other/one.conf")
GLOBS = ("one.conf", "two.conf", "src", "src/", "src/*", "*.conf", "missing", "missing/*", "src/deep")
DESTS = ("/etc/app/app.conf", "/etc/app/", "/etc/app", "/srv/new/deep/x", "/srv/there", "/srv/there/", "/opt/one.conf")
PERMS = ("0600", "0644", "600", "0o640", "0755", "0660")
ODD_PERMS = ("", "9", "rw", "01777", "0", 420, None, "00600")
OWNERS = ("root", "web", "web:me", "root:root", "me:")
ODD_OWNERS = ("nobody-here", "33", "", ":", "web:nobody-here", 0, None)
COMMANDS = ("true", "/usr/bin/app --flag 'x y'", "", " a ", "é")


def one_of(draw: st.DrawFn, usual: tuple[object, ...], odd: tuple[object, ...]) -> object:
    return draw(st.sampled_from(odd if material.rare(draw, 25) else usual))


def entry(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {
        "source": f"/{HOME}/{draw(st.sampled_from(GLOBS))}",
        "dest": draw(st.sampled_from(DESTS)),
        "owner": one_of(draw, OWNERS, ODD_OWNERS),
        "perm": one_of(draw, PERMS, ODD_PERMS),
    }
    for key in ("optional", "merge", "preserve_properties"):
        if material.rare(draw, 6):
            found[key] = draw(st.booleans())
    if material.rare(draw, 30):
        found.pop(draw(st.sampled_from(sorted(found))))
    if material.rare(draw, 40):
        found[draw(st.sampled_from(("ignore_globs", "exclude", "x")))] = []
    return found


def permission(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {
        "path": draw(st.sampled_from(("/srv/there", "/srv/*", "/etc/app", "/missing", "/etc/app/app.conf"))),
        "owner": one_of(draw, OWNERS, ODD_OWNERS),
    }
    if draw(st.booleans()):
        found["perm"] = one_of(draw, PERMS, ODD_PERMS)
    if material.rare(draw, 3):
        found["recurse"] = draw(st.booleans())
    if material.rare(draw, 5):
        found["exclude"] = draw(st.sampled_from(([], ["kept"], ["^/srv/there/kept$"], ["k.*", "x"], ["("])))
    return found


def made(draw: st.DrawFn) -> dict[str, object]:
    path = draw(st.sampled_from(("/srv/made", "/srv/made/deep", "/srv/there", "/etc/app")))
    return {"path": path, "owner": one_of(draw, OWNERS, ODD_OWNERS), "perm": one_of(draw, PERMS, ODD_PERMS)}


@st.composite
def document(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {"command": draw(st.sampled_from(COMMANDS))}
    if not material.rare(draw, 6):
        found["config_files"] = [entry(draw) for _ in range(draw(st.integers(1, 2)))]
    if material.rare(draw, 4):
        found["permissions"] = [permission(draw) for _ in range(draw(st.integers(1, 2)))]
    if material.rare(draw, 8):
        found["directories"] = [made(draw)]
    if material.rare(draw, 8):
        found["files"] = [made(draw)]
    if material.rare(draw, 30):
        odd: object = draw(st.sampled_from((None, [], {}, "x", 1)))
        found[draw(st.sampled_from(("command", "config_files", "permissions", "unknown")))] = odd
    return found


def laid(draw: st.DrawFn) -> dict[str, File | None]:
    files: dict[str, File | None] = {}
    for name in draw(st.lists(st.sampled_from(SOURCES), min_size=2, max_size=4, unique=True)):
        files[f"{HOME}/{name}"] = File(
            draw(st.sampled_from((b"1\n", b"", b"two\n", b"\xff"))), draw(st.sampled_from((0o644, 0o600, 0o755)))
        )
    if material.rare(draw, 3):
        files["srv/there/kept"] = File(b"kept\n", 0o640)
    if material.rare(draw, 4):
        files["etc/app/app.conf"] = File(b"before\n", 0o604)
    if material.rare(draw, 6):
        files["etc/app/one.conf"] = File(b"before\n", 0o644)
    return files


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Step, ...]:
    """A first run, or a check without one; then at times the same again, another document, a check."""
    first = File(material.spelled(draw(document()), draw(st.integers(0, 3))))
    if material.rare(draw, 40):
        first = File(draw(st.sampled_from(material.ODD)))
    files = laid(draw) | {f"{HOME}/config.json": first}
    strategies = ("COPY_ALWAYS", "COPY_ALWAYS", "COPY_ALWAYS", "COPY_ONCE")
    environ = {"KOLLA_CONFIG_STRATEGY": draw(st.sampled_from(strategies))}
    if material.rare(draw, 30):
        environ = draw(st.sampled_from(({}, {"KOLLA_CONFIG_STRATEGY": "copy_always"}, {"KOLLA_CONFIG_STRATEGY": ""})))
    check = ("--check",) if material.rare(draw, 30) else ()
    steps = [Step("kolla_set_configs", check, files, environ)]
    if material.rare(draw, 2):
        steps.append(Step("kolla_set_configs", ("--check",) if material.rare(draw, 3) else (), {}, environ))
    if material.rare(draw, 3):
        other = {f"{HOME}/config.json": File(json.dumps(draw(document())).encode())}
        steps.append(Step("kolla_set_configs", (), other, environ))
    return tuple(steps)


def _refused(*words: bytes) -> Callable[[Difference], bool]:
    """We refused before anything was written, with one of these words."""

    def holds(difference: Difference) -> bool:
        ours = difference.ours
        return ours.status == 1 and ours.touched_nothing and any(word in ours.stderr for word in words)

    return holds


def _has_left(difference: Difference) -> bool:
    """All that differs belongs to entries of an earlier document, which this one no longer has."""
    if difference.kinds != {TREE} or difference.ours.status:
        return False
    document = json.loads(difference.files[f"{HOME}/config.json"].content)
    dests = [entry["dest"].strip("/") for entry in document.get("config_files", [])]
    paths = [path for path in difference.paths if not ignored(path)]
    return not any(f"{path}/".startswith(f"{dest}/") for path in paths for dest in dests)


def _null_section(difference: Difference) -> bool:
    document = difference.files[f"{HOME}/config.json"].content
    return (
        difference.theirs.status == 2
        and difference.ours.status == 0
        and b": null" in document.replace(b":null", b": null")
    )


EXPECTED = (
    Expected("a section that is null", _null_section),
    Expected(
        "a file over a directory, several sources for one dest",
        lambda d: d.ours.status == 2 and d.ours.touched_nothing and b"a directory is there" in d.ours.stderr,
    ),
    Expected(
        "0 same, 1 differs, 2 never applied or an error",
        lambda d: d.step.argv == ("--check",) and d.kinds == {STATUS} and {d.theirs.status, d.ours.status} == {0, 1},
    ),
    Expected(
        "an empty `perm`, an `exclude` that is no expression",
        _refused(
            b"no regular expression",
            b"it must be a text: user",
            b"it must be a quoted text",
            b"it needs preserve_properties, or owner and perm",
        ),
    ),
    Expected("the third run destroys the saved original; wildcards have none", _has_left),
    Expected(
        "a file over a directory, several sources for one dest, `/` at both ends: deletes",
        _refused(b"which would delete all", b"sources for one dest", b"over a directory"),
    ),
    Expected(
        "bad types, modes, owners and unknown keys: exit 2 half-way",
        lambda d: d.theirs.status == 2 and d.ours.status == 1 and d.ours.touched_nothing,
    ),
    Expected(
        "a failure leaves what was placed so far",
        lambda d: bool(d.theirs.status and d.ours.status) and d.ours.touched_nothing,
    ),
)


def ignored(name: str) -> bool:
    return name.startswith(("var/log/", "etc/kolla"))
