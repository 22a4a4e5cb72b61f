"""`*.j2` templates, rendered in a child process that has no privileges, little memory and little time.

The only module that imports jinja2, and only that child does. One child renders all templates of a run, so its start
is paid once; what it says last names the template that was at fault when it ends before its time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import marshal
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType
from typing import Any

from agent import __version__
from agent.apply import compiled
from agent.errors import ApplyError
from agent.model import Json, JsonMap

MEMORY = 256 << 20
OUTPUT = 64 << 20
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Text:
    name: str
    text: str = field(repr=False)


def render(templates: Sequence[Text], metadata: JsonMap, timeout_s: float, keep_in: Path | None = None) -> list[str]:
    """Each template filled in, in order. Raises ApplyError naming the first one that cannot be.

    What had to be compiled is kept in the file `keep_in` for the next run, when there is one.
    """
    if not templates:
        return []
    stored = compiled.stored(keep_in) if keep_in else b""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        _child(templates, metadata, writing, timeout_s, stored)
    os.close(writing)
    try:
        said, in_time = _read(reading, timeout_s)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    texts, fresh = _results(templates, said, in_time, timeout_s)
    if keep_in and fresh:
        compiled.keep(keep_in, fresh)
    return texts


def _read(fd: int, timeout_s: float) -> tuple[bytes, bool]:
    """All that the child says until it ends, and whether it did so in its time."""
    deadline = time.monotonic() + timeout_s
    said = bytearray()
    while (left := deadline - time.monotonic()) > 0 and len(said) < OUTPUT:
        if select.select([fd], [], [], left)[0]:
            chunk = os.read(fd, 1 << 18)
            if not chunk:
                return bytes(said), True
            said += chunk
    return bytes(said), False


def _results(templates: Sequence[Text], said: bytes, in_time: bool, timeout_s: float) -> tuple[list[str], bytes]:
    """The texts, and all compiled templates where any had to be compiled."""
    texts: list[str] = []
    fresh = b""
    for line in said.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        answer = json.loads(line)
        if "fault" in answer:
            raise ApplyError(f"template {templates[len(texts)].name}: {answer['fault']}")
        if "compiled" in answer:
            fresh = base64.b64decode(answer["compiled"])
            break
        texts.append(answer["text"])
    if len(texts) < len(templates):
        why = "it needs too much memory" if in_time else f"not done after {timeout_s:g} s, or too long"
        raise ApplyError(f"template {templates[len(texts)].name}: {why}; look for a loop without an end")
    return texts, fresh


# ------------------------------------------------------------------------------------------- in the child


def _child(templates: Sequence[Text], metadata: JsonMap, writing: int, timeout_s: float, stored: bytes) -> None:
    """Say one line of JSON for each template, and one of what was compiled; never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        try:
            environment = _environment()
        except ImportError:
            _say(writing, {"fault": "jinja2 3.1.6 or newer is missing; install os-deploy-agent[templates]"})
            return
        for rehearsed in ("{{ 'x' | pprint }}", "{{ x }}", "{% x"):  # whatever is loaded late, nobody may not read
            _answer(environment, Text("", rehearsed), {}, Codes(b""))
        _confine(timeout_s)
        codes = Codes(stored)
        for template in templates:
            _say(writing, _answer(environment, template, metadata, codes))
        if codes.fresh:
            _say(writing, {"compiled": base64.b64encode(codes.dump()).decode()})
    finally:
        os._exit(0)


class Codes:
    """The compiled templates of this run, and those that an earlier one left, by the hash of their text."""

    def __init__(self, stored: bytes) -> None:
        self.fresh = False
        self._used: dict[bytes, CodeType] = {}
        self._known: Mapping[bytes, CodeType] = {}
        with suppress(EOFError, ValueError, TypeError):  # damaged, or of another Python
            made_by, known = marshal.loads(stored)  # noqa: S302 - in the confined child, from a file that only root writes
            self._known = known if made_by == _made_by() else {}

    def of(self, environment: Any, text: str) -> CodeType:
        key = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        code = self._known.get(key) or self._used.get(key)
        if code is None:
            code = environment.compile(text)
            self.fresh = True
        self._used[key] = code
        return code

    def dump(self) -> bytes:
        return marshal.dumps((_made_by(), self._used))


def _made_by() -> str:
    """What compiled code depends on besides its text."""
    import jinja2  # noqa: PLC0415 - only the child has it

    return f"{__version__} {jinja2.__version__} {sys.implementation.cache_tag}"


def _answer(environment: Any, template: Text, metadata: JsonMap, codes: Codes) -> dict[str, str]:
    import jinja2  # noqa: PLC0415 - only the child has it

    try:
        code = codes.of(environment, template.text)
        made = environment.template_class.from_code(environment, code, environment.make_globals(None))
        return {"text": made.render(metadata)}
    except jinja2.TemplateSyntaxError as exc:
        return {"fault": f"line {exc.lineno}: {exc.message}"}
    except jinja2.UndefinedError as exc:
        return {"fault": f"{exc.message}; write {{{{ name | default('') }}}} where it may be missing"}
    except MemoryError:
        return {"fault": "it needs too much memory; look for a loop without an end"}
    except Exception as exc:  # noqa: BLE001 - a template can raise anything, and is at fault for it
        return {"fault": f"{type(exc).__name__}: {exc}"}


def _say(fd: int, answer: Mapping[str, str]) -> None:
    view = memoryview(json.dumps(answer).encode() + b"\n")
    while view:
        view = view[os.write(fd, view) :]


def _confine(timeout_s: float) -> None:
    """From here on: nobody's rights, no files written, no processes, bounded memory and time."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    seconds = int(timeout_s) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


def _environment() -> Any:
    """Strict, sandboxed, and with the rules of mustache for what is no text.

    `a.items` is never a method: inside of objects and lists only what the metadata holds is found
    (`{{ a | items }}` and `{{ a | dictsort }}` iterate).
    """
    import jinja2.debug  # noqa: PLC0415 - loaded while we still may read it
    import jinja2.sandbox  # noqa: PLC0415

    class Environment(jinja2.sandbox.ImmutableSandboxedEnvironment):
        def getattr(self, obj: Any, attribute: str) -> Any:
            if isinstance(obj, (dict, list)):
                return self.getitem(obj, attribute)
            return super().getattr(obj, attribute)

        def getitem(self, obj: Any, argument: Any) -> Any:
            if isinstance(obj, (dict, list)):
                try:
                    return obj[argument]
                except (LookupError, TypeError):
                    return self.undefined(obj=obj, name=argument)
            return super().getitem(obj, argument)

    environment = Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, autoescape=False, finalize=_as_text
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(value, indent=indent)
    return environment


def _as_text(value: Json) -> object:
    """As `jsontext.as_text`; what is no JSON (something undefined) speaks for itself."""
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, (bool, int, float, list, dict)) else value
