"""The os-apply-config tree: every file below a root is a template for the file of the same path on the guest.

A file that may be executed is run with the metadata on its stdin; `x.j2` is jinja2 for `x`; anything else is mustache.
Beside it, `x.oac` says in YAML what else holds: `mode`, `owner`, `group`, `allow_empty`, and, new here, `validate`.
All of it becomes placements; nothing is written here.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent import yamltext
from agent.apply import render, validation
from agent.apply.place import Placement
from agent.errors import ApplyError, MetadataError

if TYPE_CHECKING:  # the model is 10 ms of classes
    from agent.model import Json, JsonMap

CONTROL, JINJA = ".oac", ".j2"
VALIDATE = "validate"
PROGRAM, JINJA_TEXT, MUSTACHE = "program", "jinja", "mustache"
TIMEOUT_S = 300.0
BODY_LIMIT = 16 << 20


@dataclass(frozen=True, slots=True)
class Control:
    """What a control file asks for."""

    allow_empty: bool = True
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    validate: tuple[str, ...] = ()


NO_CONTROL = Control()


@dataclass(frozen=True, slots=True)
class Template:
    """One file of the tree: its place inside, what makes it a file of the guest, whether there is a control file."""

    path: Path
    inside: str
    kind: str
    controlled: bool = False

    @property
    def target(self) -> str:
        """Where its file belongs, relative to the output."""
        return self.inside.removesuffix(JINJA) if self.kind == JINJA_TEXT else self.inside


def placements(
    root: Path,
    output: Path,
    metadata: JsonMap,
    environ: Mapping[str, str],
    *,
    timeout_s: float = TIMEOUT_S,
    keep_in: Path | None = None,
) -> tuple[Placement, ...]:
    """The whole tree rendered, as files below `output`. Raises ApplyError naming the template that cannot be.

    Compiled templates are kept in the file `keep_in`, when there is one.
    """
    return rendered(tree(root), output, metadata, environ, timeout_s=timeout_s, keep_in=keep_in)


def rendered(
    found: Sequence[Template],
    output: Path,
    metadata: JsonMap,
    environ: Mapping[str, str],
    *,
    timeout_s: float,
    keep_in: Path | None = None,
) -> tuple[Placement, ...]:
    """These templates rendered, likewise."""
    controls = [control(template.path) if template.controlled else NO_CONTROL for template in found]
    texts = _jinja([template.path for template in found if template.kind == JINJA_TEXT], metadata, timeout_s, keep_in)
    in_turn = iter(texts)
    bodies = [
        next(in_turn) if template.kind == JINJA_TEXT else body(template, metadata, environ, timeout_s)
        for template in found
    ]
    return tuple(
        _placement(output / template.target, content, declared)
        for template, content, declared in zip(found, bodies, controls, strict=True)
    )


def tree(root: Path) -> tuple[Template, ...]:
    """Every template below `root`, sorted; links to directories are not entered, a missing root holds none."""
    if not root.is_dir():
        return ()

    def refuse(exc: OSError) -> None:
        raise ApplyError(f"listing templates in {exc.filename}: {exc.strerror}") from exc

    top, found = str(root), []
    for directory, _, names in os.walk(top, onerror=refuse):
        present = set(names)
        for name in names:
            if not name.endswith(CONTROL):
                path = os.path.join(directory, name)  # noqa: PTH118 - a third of the time of a whole tree
                inside = path.removeprefix(top).lstrip("/")
                found.append(Template(Path(path), inside, _kind(path), f"{name}{CONTROL}" in present))
    return tuple(sorted(found, key=lambda template: template.path))


def body(template: Template, metadata: JsonMap, environ: Mapping[str, str], timeout_s: float) -> bytes:
    """What one template without jinja2 comes to."""
    path = template.path
    if template.kind == PROGRAM:
        return _run(path, metadata, environ, timeout_s)
    try:
        return _encoded(path, render.render(_read(path), metadata, _partial))
    except ApplyError as exc:
        raise ApplyError(f"could not render moustache template {path}: {exc}") from exc


def control(template: Path) -> Control:
    """The control file of a template, or what holds without one."""
    path = template.with_name(template.name + CONTROL)
    if not path.is_file():
        return Control()
    text = _read(path)
    if not text.strip():
        return Control()
    try:
        declared = yamltext.decode(text, "it")
    except MetadataError as exc:
        raise ApplyError(f"reading {path}: {exc}") from exc
    if not declared:
        return Control()
    if not isinstance(declared, dict):
        raise ApplyError(f"reading {path}: header is not a dict; write 'mode: 0640' and the like")
    return _control(path, declared)


# ------------------------------------------------------------------------------------------ control files


def _control(path: Path, declared: Mapping[str, Json]) -> Control:
    values: dict[str, int] = {}
    validate: tuple[str, ...] = ()
    for key, value in declared.items():
        reader = _KEYS.get(str(key))
        if reader is None and key != VALIDATE:
            known = ", ".join((*_KEYS, VALIDATE))
            raise ApplyError(f"reading {path}: unrecognised file control key '{key}'; known are {known}")
        try:
            if reader is None:
                validate = validation.command(value)
                continue
            field, values_of = reader
            values[field] = values_of(value)
        except ApplyError as exc:
            raise ApplyError(f"reading {path}: {exc}") from exc
    return Control(
        allow_empty=bool(values.get("allow_empty", True)),
        mode=values.get("mode"),
        uid=values.get("uid"),
        gid=values.get("gid"),
        validate=validate,
    )


def _allow_empty(value: object) -> bool:
    if not isinstance(value, bool):
        raise ApplyError(f"allow_empty requires Boolean, got: '{value}'")
    return value


def _mode(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ApplyError(f"mode '{value}' is not numeric")
    if not 0 <= value <= 0o777:
        raise ApplyError(f"mode '{value:#o}' out of range; YAML takes 0640 for octal and 640 for decimal")
    return value


def _owner(value: object) -> int:
    return _id_of(value, "owner", "passwd", lambda name: pwd.getpwnam(name).pw_uid, lambda n: pwd.getpwuid(n).pw_uid)


def _group(value: object) -> int:
    return _id_of(value, "group", "group", lambda name: grp.getgrnam(name).gr_gid, lambda n: grp.getgrgid(n).gr_gid)


def _id_of(
    value: object, key: str, database: str, by_name: Callable[[str], int], by_number: Callable[[int], int]
) -> int:
    try:
        if isinstance(value, str):
            return by_name(value)
        if isinstance(value, int) and not isinstance(value, bool):
            return by_number(value)
    except (KeyError, ValueError, OverflowError) as exc:
        raise ApplyError(f"{key} '{value}' not found in {database} database") from exc
    raise ApplyError(f"{key} '{value}' must be a string or int")


_KEYS: Mapping[str, tuple[str, Callable[[object], int]]] = {
    "allow_empty": ("allow_empty", _allow_empty),
    "mode": ("mode", _mode),
    "owner": ("uid", _owner),
    "group": ("gid", _group),
}


# ------------------------------------------------------------------------------------------------- bodies


def _placement(path: Path, content: bytes, declared: Control) -> Placement:
    wanted = None if not content and not declared.allow_empty else content
    return Placement(path, wanted, "", declared.mode, declared.uid, declared.gid, validate=declared.validate)


def _kind(path: str) -> str:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - as os.path.join above
    except OSError:  # reading it will say what is wrong
        mode = 0
    if stat.S_ISREG(mode) and mode & 0o111 and os.access(path, os.X_OK):
        return PROGRAM
    return JINJA_TEXT if path.endswith(JINJA) and not path.endswith(f"/{JINJA}") else MUSTACHE


def _read(path: Path) -> str:
    """A template's text; line ends become newlines, as they always did here."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe has nobody who writes
        with open(fd, "rb") as file:  # noqa: PTH123 - an open descriptor
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ApplyError(f"reading template {path}: no regular file")
            text = file.read().decode()
            return text.replace("\r\n", "\n").replace("\r", "\n")
    except OSError as exc:
        raise ApplyError(f"reading template {path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise ApplyError(f"reading template {path}: not UTF-8; convert it, or make it a program that prints") from exc


def _partial(name: str) -> str:
    """`{{> name}}`: name.mustache in the working directory, nothing when it is not there."""
    path = Path(f"{name}.mustache")
    return _read(path) if path.exists() else ""


def _encoded(path: Path, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise ApplyError(f"template {path}: a value is no Unicode text (half of a surrogate pair)") from exc


def _jinja(paths: list[Path], metadata: JsonMap, timeout_s: float, keep_in: Path | None) -> list[bytes]:
    """What the templates with jinja2 come to, in one child for all of them."""
    if not paths:
        return []
    from agent.apply import jinja  # noqa: PLC0415 - for those who have such templates

    texts = jinja.render([jinja.Text(str(path), _read(path)) for path in paths], metadata, timeout_s, keep_in)
    return [_encoded(path, text) for path, text in zip(paths, texts, strict=True)]


def _run(path: Path, metadata: JsonMap, environ: Mapping[str, str], timeout_s: float) -> bytes:
    """The output of an executable template."""
    from agent import process  # noqa: PLC0415 - for those who have such templates

    try:
        finished = process.run(
            [str(path.absolute())],
            env=environ,
            cwd=Path.cwd(),
            timeout_s=timeout_s,
            stdin=json.dumps(metadata).encode(),
            keep_stdout=BODY_LIMIT,
        )
    except OSError as exc:
        raise ApplyError(f"running template {path}: {exc.strerror}; see its first line and mode") from exc
    if finished.timed_out:
        raise ApplyError(f"config script failed: {path} was ended after {timeout_s:g} s")
    if finished.status:
        output = finished.stdout.text() + finished.stderr.text()
        raise ApplyError(f"config script failed: {path} ended with {finished.status}\n\nwith output:\n\n{output}")
    if finished.stdout.cut:
        raise ApplyError(f"template {path}: it prints more than {BODY_LIMIT >> 20} MiB")
    return finished.stdout.bytes()
