"""cfn-init: configs and configSets of files, commands, groups, users and services.

Packages and sources are left out: there the two families of tools differ by design in nearly everything, and the
recorded cases say how. Programs that would change the machine are stand-ins that write down how they were called.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from hypothesis import strategies as st

from tests.fuzz import material
from tests.fuzz.guest import CALLS, File, Seen, Step
from tests.fuzz.judge import TREE, Difference, Expected

INIT = "AWS::CloudFormation::Init"
CACHE, FIRST = "var/cache/heat-cfntools/last_metadata", "var/lib/heat-cfntools/cfn-init-data"
PATHS = ("/etc/app.conf", "/srv/new/deep/x", "/srv/x", "/opt/a b", "/opt/é", "/etc/passwd-not")
CONTENTS = ("", "x", "two\nlines\n", "é漢", "{{a}}", "\r\n", "\\", "%s")
MODES = ("000644", "0600", "755", "100640", "000400", "0")
ODD_MODES = ("999", "", "rw", 644, None, "0o600", " 600", "1", "4755")
LINES = (
    f"echo one >> {CALLS}",
    f"pwd >> {CALLS}",
    f'echo "${{NAME-unset}} ${{HOME-unset}}" >> {CALLS}',
    "exit 3",
    "false",
    f"printf x > /srv/made; echo y >> {CALLS}",
    "missing-program",
    "",
)
WORDS = (["touch", "/srv/touched"], ["false"], ["/bin/sh", "-c", f"echo list >> {CALLS}"], ["/missing/program"])


def usually(draw: st.DrawFn, usual: tuple[object, ...], odd: tuple[object, ...] = ()) -> object:
    return draw(st.sampled_from(odd if odd and material.rare(draw, 25) else usual))


def file(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {"content": usually(draw, CONTENTS, (None, 1, [], True))}
    if draw(st.booleans()):
        found["mode"] = usually(draw, MODES, ODD_MODES)
    if material.rare(draw, 4):
        found["owner"] = usually(draw, ("web", "root", "me"), ("nobody-here", "33", ""))
    if material.rare(draw, 4):
        found["group"] = usually(draw, ("web", "root", "me"), ("nobody-here", "33", ""))
    if material.rare(draw, 30):
        del found["content"]
    return found


def command(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {"command": draw(st.sampled_from(LINES) | st.sampled_from(WORDS))}
    if material.rare(draw, 4):
        found["test"] = draw(st.sampled_from(("true", "false", "test -e /srv/made", "exit 9")))
    if material.rare(draw, 4):
        found["env"] = usually(
            draw, ({}, {"NAME": "value"}, {"NAME": "", "PATH": "/usr/bin:/bin"}), ({"NAME": 1}, [], "x")
        )
    if material.rare(draw, 4):
        found["cwd"] = draw(st.sampled_from(("/srv", "/missing", "~", "/", ".")))
    if material.rare(draw, 3):
        found["ignoreErrors"] = draw(
            st.sampled_from((True, "true", "yes", 1, "1", False, "false", "no", 0, "", "on", None))
        )
    return found


def service(draw: st.DrawFn) -> dict[str, object]:
    words = (True, False, "true", "false", "yes", "no", 1, 0, "1", "0", "on", "")
    return {key: draw(st.sampled_from(words)) for key in ("enabled", "ensureRunning") if draw(st.booleans())}


@st.composite
def config(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {}
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(PATHS), min_size=1, max_size=3, unique=True))
        found["files"] = {name: file(draw) for name in names}
    if draw(st.booleans()):
        names = draw(st.lists(st.sampled_from(("01-a", "2", "b", "A", "é", "10")), min_size=1, max_size=3, unique=True))
        found["commands"] = {name: command(draw) for name in names}
    if material.rare(draw, 6):
        gids: tuple[object, ...] = ({}, {"gid": "77"}, {"gid": 78})
        found["groups"] = {
            name: draw(st.sampled_from(gids)) for name in draw(st.lists(st.sampled_from(("g1", "g2")), unique=True))
        }
    if material.rare(draw, 6):
        kinds: tuple[object, ...] = (
            {},
            {"uid": "77"},
            {"groups": ["web", "me"]},
            {"homeDir": "/home/u", "uid": 5, "groups": ["web"]},
        )
        found["users"] = {
            name: draw(st.sampled_from(kinds)) for name in draw(st.lists(st.sampled_from(("u1", "u2")), unique=True))
        }
    if material.rare(draw, 6):
        found["services"] = {draw(st.sampled_from(("systemd", "sysvinit"))): {"httpd": service(draw)}}
    if material.rare(draw, 40):
        found[draw(st.sampled_from(("files", "commands", "users", "unknown")))] = draw(st.sampled_from(({}, [], None)))
    return found


@st.composite
def init(draw: st.DrawFn) -> dict[str, object]:
    found: dict[str, object] = {
        name: draw(config())
        for name in draw(st.lists(st.sampled_from(("config", "one", "two")), min_size=1, unique=True))
    }
    if "config" in found and len(found) == 1:
        return found
    names: tuple[object, ...] = (
        ["one"],
        ["two", "one"],
        ["config"],
        ["one", "one"],
        ["missing"],
        [],
        ["config", "two"],
    )
    sets = draw(st.lists(st.sampled_from(("default", "other")), min_size=1, unique=True))
    return {"configSets": {name: draw(st.sampled_from(names)) for name in sets}, **found}


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Step, ...]:
    """One run; at times a second one with the same metadata."""
    content = draw(init())
    metadata: object = {INIT: content, "a": 1}
    if material.rare(draw, 30):
        metadata = draw(st.sampled_from(({}, {INIT: {}}, {INIT: None}, {INIT: {"configSets": {}}}, [], "x")))
    where = draw(st.sampled_from((CACHE, FIRST, f"{CACHE}_web")))
    files: dict[str, File | None] = {where: File(material.spelled(metadata, draw(st.integers(0, 3))), 0o600)}
    if material.rare(draw, 12):
        files[FIRST] = File(draw(st.sampled_from(material.ODD)), 0o600)
    if material.rare(draw, 6):
        files["etc/app.conf"] = draw(st.sampled_from((File(b"old\n", 0o640), File(link="/srv/elsewhere"))))
    argv: list[str] = []
    if where.endswith("_web") or material.rare(draw, 5):
        argv += ["-r", draw(st.sampled_from(("web", "web", "other")))]
    if material.rare(draw, 4) or "configSets" in content:
        argv += draw(
            st.sampled_from(
                ([], ["-c", "default"], ["-c", "other"], ["-c", "default, other"], ["-c", "none"], ["-c", ""])
            )
        )
    if material.rare(draw, 15):
        argv += draw(st.sampled_from((["--region", "x"], ["-s", "stack"], ["--wrong"], ["--resource"])))
    step = Step("cfn-init", tuple(argv), files)
    return (step, Step("cfn-init", tuple(argv))) if material.rare(draw, 6) else (step,)


def _without_accounts(seen: Seen) -> object:
    calls = seen.tree.get("srv/calls")
    lines = calls.content.splitlines() if calls and isinstance(calls.content, bytes) else []
    lines = [line for line in lines if b"add " not in line]
    return lines, {name: what for name, what in seen.tree.items() if not ignored(name) and name != "srv/calls"}


def _other_accounts(difference: Difference) -> bool:
    """Nothing but how groupadd and useradd were called."""
    return difference.kinds == {TREE} and _without_accounts(difference.theirs) == _without_accounts(difference.ours)


def _log(seen: Seen) -> bytes:
    found = seen.tree["var/log/cfn-init.log"].content
    return found if isinstance(found, bytes) else b""


def _refused(*words: bytes) -> Callable[[Difference], bool]:
    """We refused before anything was changed, with one of these words."""

    def holds(difference: Difference) -> bool:
        ours = difference.ours
        return ours.status == 1 and ours.touched_nothing and any(word in ours.stderr for word in words)

    return holds


def _link_at_the_target(difference: Difference) -> bool:
    links = [name for name, file in difference.files.items() if file.link]
    targets = [str(difference.files[name].link).strip("/") for name in links]
    return bool(links) and difference.kinds == {TREE} and set(difference.paths) - {"srv/calls"} <= {*links, *targets}


def _digits(difference: Difference) -> bool:
    """An owner or group in digits, which is a number to us and the name of nobody to them."""
    return any(re.search(rb'"(owner|group)": ?"33"', file.content) for file in difference.files.values())


EXPECTED = (
    Expected(
        "an owner or group in digits", lambda d: d.kinds == {TREE} and d.theirs.status == d.ours.status and _digits(d)
    ),
    Expected(
        "an owner or group that is not there is passed over",
        lambda d: d.ours.status == 1 and b"placing " in d.ours.stderr and b" here; declare it in " in d.ours.stderr,
    ),
    Expected("a link where a file shall be is followed", _link_at_the_target),
    Expected(
        "a list whose program is missing ends the run",
        lambda d: (
            d.theirs.status == 1
            and b"/missing/program" in b"".join(f.content for f in d.files.values())
            and b"FileNotFoundError" in bytes(d.theirs.tree["var/log/cfn-init.log"][3])
        ),
    ),  # type: ignore[call-overload]
    Expected("groups and users", _other_accounts),
    Expected("an unfit value anywhere in a config that is to run", _refused(b"invalid metadata, nothing was changed")),
    Expected("configSets: names, text,", _refused(b"choosing configs: ")),
    Expected(
        "a damaged one is passed over",
        _refused(b"Unable to read any valid metadata", b"it has no AWS::CloudFormation::Init"),
    ),
    Expected(
        "files: content, JSON, base64",
        lambda d: d.theirs.status == 1 and b"write() argument must be str" in _log(d.theirs),
    ),
)


def ignored(name: str) -> bool:
    return name.startswith("var/log/")
