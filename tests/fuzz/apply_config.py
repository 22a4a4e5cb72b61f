"""os-apply-config: templates, control files, metadata and command lines."""

from __future__ import annotations

import json
from collections.abc import Callable

from hypothesis import strategies as st

from tests.fuzz import material
from tests.fuzz.guest import File, Step
from tests.fuzz.judge import TREE, Difference, Expected

TOOL = "os-apply-config"
TEMPLATES, OUTPUT = "/opt/templates", "/srv/out"
NAMES = ("x", "etc/x", "etc/y.conf", "ü", "a b", "deep/er/x", ".hidden", "x.mustache", "etc/x.oac.d/z")
METADATA = ("w/one.json", "srv/two.json", "srv/missing.json", "srv/t h.json")
TAG_KEYS = ("a", "b", "c", "d", "a.b", "a.b.c", "deep", ".", "0", "ü", "missing", "a b", "a.0", "deep.missing", "..")
CONTROLS = (
    "mode: 0600",
    "mode: 0640\nowner: web\ngroup: me",
    "mode: 600",
    "mode: '0600'",
    "mode: 0o600",
    "mode: 0777",
    "mode: 01777",
    "mode: -1",
    "mode: true",
    "mode: null",
    "mode: 0x1ff",
    "mode: 0644.5",
    "owner: 33",
    "owner: root",
    "owner: nobody-here",
    "owner: 4242",
    "owner: '33'",
    "owner: [web]",
    "owner: true",
    "owner: null",
    "group: 1000",
    "group: me",
    "group: missing",
    "group: -1",
    "allow_empty: false",
    "allow_empty: true",
    "allow_empty: no",
    "allow_empty: 'false'",
    "allow_empty: 0",
    "allow_empty:",
    "{}",
    "",
    "# nothing\n",
    "---\n",
    "- mode",
    "text",
    "0",
    "mode: 0600\nmode: 0640",
    "unknown: 1",
    "set: 1",
    "body: other",
    "mode: [0600",
    "\tmode: 0600",
    "'mode': 0600",
    "1: 2",
    "!!python/object/apply:os.system ['true']",
    "mode: &a 0600",
    "mode: *a",
    "--- {mode: 0600}\n--- {mode: 0640}",
    "é: 1",
)
PROGRAMS = (
    "#!/bin/sh\ncat",
    "#!/bin/sh\nexit 3",
    "#!/bin/sh\necho out; echo err >&2; exit 1",
    "#!/bin/sh\nprintf '%s' \"$0 $#\"",
    "#!/bin/sh\npwd; env | grep -c LC_ALL",
    "#!/bin/sh\ntrue",
    "#!/bin/sh\nprintf 'a\\r\\nb\\r'",
    "#!/bin/sh\nprintf '\\377'",
    "#!/bin/sh\nkill -9 $$",
    "#!/missing/interpreter\n",
    "echo no first line",
    "",
    "#!/bin/sh\nhead -c 3; cat >/dev/null",
)
TYPES = ("int", "default", "netaddress", "netdevice", "dsn", "swiftdevices", "username", "raw")
TYPED = (
    "mysql://user:pw@host/db?charset=utf8",
    "sqlite:///file.db",
    "amqp://",
    "r1z1-127.0.0.1:%PORT%/d1",
    "r1z1-host:%PORT%/d1,r2z2-host:%PORT%/d2",
    "r1z1-host:%PORT%/d1,",
    "name-with_dash",
    "1.2.3.4/24",
    "fe80::1%eth0",
    "12\n",
    "٣",
)
LISTS = ("var/lib/os-collect-config/os_config_files.json", "var/run/os-collect-config/os_config_files.json", "srv/list")
FALLBACKS = (
    "var/cache/heat-cfntools/last_metadata",
    "var/lib/heat-cfntools/cfn-init-data",
    "var/lib/cloud/data/cfn-init-data",
)

# -------------------------------------------------------------------------------------------------- mustache

space = st.sampled_from(("", "", "", " ", "\t", "  ", "\n"))
plain = st.sampled_from(("", "x", "\n", "  ", "line\n", "\r\n", " y ", "é", "}}", "{", "\t", "<&>")) | material.text
tag_key = st.sampled_from(TAG_KEYS)


@st.composite
def tag(draw: st.DrawFn) -> str:
    before, after, name = draw(space), draw(space), draw(tag_key)
    form = draw(
        st.sampled_from(("{{%s}}", "{{%s}}", "{{{%s}}}", "{{&%s}}", "{{!%s}}", "{{>%s}}", "{{ & %s }}", "{{! %s !}}"))
    )
    return form % f"{before}{name}{after}"


@st.composite
def delimiters(draw: st.DrawFn) -> str:
    return draw(st.sampled_from(("{{=<% %>=}}<%a%><%={{ }}=%>", "{{=| |=}}|a||#b|x|/b||={{ }}=|", "{{= [ ] =}}[b]")))


def section(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    @st.composite
    def one(draw: st.DrawFn) -> str:
        name, kind = draw(tag_key), draw(st.sampled_from("##^"))
        lead, end = draw(st.sampled_from(("", "", "\n", "  "))), draw(st.sampled_from(("", "", "\n", "\r\n")))
        closing = f" {name} " if material.rare(draw, 9) else name
        body = draw(inner)
        return f"{lead}{{{{{kind}{name}}}}}{end}{body}{lead}{{{{/{closing}}}}}{end}"

    return one()


BROKEN = ("{{a", "{{#a}}", "{{/a}}", "{{}}", "{{ }}", "{{#}}", "{{{a}}", "{{&}}", "{{>}}", "{{==}}", "{{=a=}}")
well_formed = st.recursive(
    plain | tag() | tag() | delimiters(),
    lambda inner: section(inner) | st.lists(inner, min_size=1, max_size=4).map("".join),
    max_leaves=8,
)


@st.composite
def mustache(draw: st.DrawFn) -> str:
    """A template; one in a dozen has something broken in it."""
    text = draw(well_formed)
    if not material.rare(draw, 12):
        return text
    at = draw(st.integers(0, len(text)))
    return text[:at] + draw(st.sampled_from(BROKEN)) + text[at:]


def template(draw: st.DrawFn) -> File:
    if material.rare(draw, 8):
        return File(draw(st.sampled_from(PROGRAMS)).encode(), 0o755)
    if material.rare(draw, 12):
        return File(draw(st.sampled_from((b"", b"", b"\xff\n", b"\0", b"\xef\xbb\xbf{{a}}"))))
    return File(draw(mustache()).encode("utf-8", "surrogatepass"), draw(st.sampled_from((0o644, 0o600, 0o444))))


# ---------------------------------------------------------------------------------------------------- scenes


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Step, ...]:
    """Metadata first, then what is asked of it; at times a second run with other metadata."""
    files, environ, argv = metadata(draw)
    if material.rare(draw, 4):
        argv += asked(draw)
        return (Step(TOOL, tuple(argv), files, environ),)
    files |= tree(draw)
    if material.rare(draw, 3):
        files |= partials(draw)
    files |= there(draw)
    argv += applied(draw, environ)
    first = Step(draw(st.sampled_from((TOOL, TOOL, "os-config-applier"))), tuple(argv), files, environ)
    if not material.rare(draw, 6):
        return (first,)
    return (first, Step(TOOL, tuple(argv), {"w/one.json": File(draw(material.document()))}, environ))


def metadata(draw: st.DrawFn) -> tuple[dict[str, File | None], dict[str, str], list[str]]:
    """Files of metadata, and how the tool is told of them."""
    names = draw(st.lists(st.sampled_from(METADATA), min_size=1, max_size=3))
    files: dict[str, File | None] = {
        name: draw(material.files(material.document())) for name in names if "missing" not in name
    }
    for name in draw(st.lists(st.sampled_from(FALLBACKS), max_size=1)):
        files[name] = draw(material.files(material.document()))
    paths = [f"/{name}" for name in names]
    environ: dict[str, str] = {}
    how = draw(st.integers(0, 7))
    if how < 4:
        return files, environ, ["-m", *paths, *(["--fallback-metadata", paths[0]] if how == 3 else [])]
    if how == 4:
        environ["OS_CONFIG_FILES"] = draw(st.sampled_from((":", "::"))).join(paths) + draw(st.sampled_from(("", ":")))
        return files, environ, []
    where = draw(st.sampled_from(LISTS))
    listed: object = draw(st.sampled_from(([], {}, "x", [1], None))) if material.rare(draw, 8) else paths
    files[where] = File(json.dumps(listed).encode())
    if where == "srv/list":
        if draw(st.booleans()):
            return files, environ, ["--os-config-files", "/srv/list"]
        environ["OS_CONFIG_FILES_PATH"] = "/srv/list"
    return files, environ, []


def asked(draw: st.DrawFn) -> list[str]:
    """One value, in place of templates."""
    name = draw(st.sampled_from((*TAG_KEYS, "a.b.0", "a.-1", "a.1", "b.0", "c.d", "a. 1", "a.1_0", "")))
    if material.rare(draw, 4):
        return ["--boolean-key", name]
    more = draw(st.sampled_from(([], [], ["--key-default", "x"], ["--key-default", ""], ["--key-default", "not ok"])))
    kind = draw(st.sampled_from((*TYPES, "default", "raw", "nonsense", "")))
    return ["--key", name, *(["--type", kind] if kind else []), *more]


@st.composite
def typed(draw: st.DrawFn) -> tuple[Step, ...]:
    """A value made for one of the types, and a type to hold it to."""
    chosen = draw(
        st.sampled_from(TYPED) | st.from_regex(r"[a-z0-9]{1,3}://[a-z:@/?=._-]{0,12}") | material.text | material.scalar
    )
    content = json.dumps({"a": chosen}).encode()
    argv = ("-m", "/srv/m.json", "--key", "a", "--type", draw(st.sampled_from(TYPES)))
    return (Step(TOOL, argv, {"srv/m.json": File(content)}),)


def tree(draw: st.DrawFn) -> dict[str, File | None]:
    names = draw(st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True))
    files: dict[str, File | None] = {}
    for name in names:
        files[f"opt/templates/{name}"] = template(draw)
        if material.rare(draw, 3):
            files[f"opt/templates/{name}.oac"] = File(draw(st.sampled_from(CONTROLS)).encode())
    if material.rare(draw, 12):
        files["opt/templates/linked"] = File(link=draw(st.sampled_from(("x", "/missing", "etc", "/opt/templates/x"))))
    return files


def partials(draw: st.DrawFn) -> dict[str, File | None]:
    names = draw(st.lists(st.sampled_from(("a", "b", "deep", "ü")), min_size=1, max_size=2, unique=True))
    return {f"w/{name}.mustache": File(draw(mustache()).encode("utf-8", "surrogatepass")) for name in names}


def there(draw: st.DrawFn) -> dict[str, File | None]:
    """What is already where files shall go."""
    if not material.rare(draw, 3):
        return {}
    name = f"srv/out/{draw(st.sampled_from(NAMES))}"
    kinds = (
        File(b"old", 0o600),
        File(b"", 0o755),
        File(b"old", 0o4755),
        File(link="/srv/elsewhere"),
        File(link="/etc/passwd"),
        File(directory=True, mode=0o700),
    )
    found: dict[str, File | None] = {"srv/out": File(directory=True, mode=0o755), name: draw(st.sampled_from(kinds))}
    return found


def applied(draw: st.DrawFn, environ: dict[str, str]) -> list[str]:
    """How the tree is named, and what else holds."""
    argv = draw(st.sampled_from((["-o", OUTPUT], ["--output", OUTPUT], [f"-o{OUTPUT}/"], ["-o", "../srv/out"])))[:]
    if draw(st.booleans()):
        argv += draw(st.sampled_from((["-t", TEMPLATES], [f"--templates={TEMPLATES}"], ["--temp", TEMPLATES])))
    else:
        environ["OS_CONFIG_APPLIER_TEMPLATES"] = TEMPLATES
    if material.rare(draw, 8):
        argv += draw(st.sampled_from((["-s", "a"], ["--subhash", "a.b"], ["-s", "deep"], ["-s", "missing"])))
    if material.rare(draw, 10):
        argv += draw(st.sampled_from((["-v"], ["--validate"], ["--print-templates"])))
    return argv


# ------------------------------------------------------------------------------------------------- expected


def _ours_says(*words: bytes) -> Callable[[Difference], bool]:
    return lambda difference: any(word in difference.ours.stderr for word in words)


def _kept_rights(difference: Difference) -> bool:
    """The mode alone differs, by the set-uid right that a file had."""
    pairs = [(difference.theirs.tree.get(path), difference.ours.tree.get(path)) for path in difference.paths]
    return difference.kinds == {TREE} and all(
        old and new and int(new.mode, 8) == int(old.mode, 8) | 0o4000 and old[1:] == new[1:] for old, new in pairs
    )


EXPECTED = (
    Expected(
        "a control key `set`",
        lambda d: d.theirs.status == 0 and b"unrecognised file control key 'set'" in d.ours.stderr,
    ),
    Expected("the set-uid right of an existing file", _kept_rights),
    Expected(
        '`--key ""` applies all templates',
        lambda d: "" in d.step.argv and {"--key", "--boolean-key"} & set(d.step.argv) != set(),
    ),
    Expected(
        "a section that is never closed is accepted",
        lambda d: d.theirs.status == 0 and b"is never closed" in d.ours.stderr,
    ),
    Expected("a directory at the target", lambda d: d.kinds == {TREE} and b"a directory is there" in d.ours.stderr),
    Expected(
        "any bytes; at most 16 MiB",
        lambda d: (
            d.theirs.status == 1
            and b"UnicodeDecodeError" in d.theirs.stderr
            and any(b"\\377" in f.content for f in d.files.values())
        ),
    ),
    Expected(
        "a byte order mark",
        lambda d: d.theirs.status == 1 and any(f.content[:3] == b"\xef\xbb\xbf" for f in d.files.values()),
    ),
    Expected(
        "NaN and nesting beyond 256 levels are no JSON",
        lambda d: (
            d.ours.status == 1
            and b"not JSON" in d.ours.stderr
            and any(b"NaN" in f.content or b"Infinity" in f.content for f in d.files.values())
        ),
    ),
)


def ignored(name: str) -> bool:
    return name.startswith("var/log/")
