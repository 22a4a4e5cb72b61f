"""`*.j2` templates, rendered in a child process that has no privileges, little memory and little time.

The only module that imports jinja2, and only that child does. One child renders all templates of a run, so its start
is paid once; what it says last names the template that was at fault when it ends before its time.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.errors import ApplyError
from agent.model import Json, JsonMap

MEMORY = 512 << 20
OUTPUT = 64 << 20
NOBODY = 65534


@dataclass(frozen=True, slots=True)
class Text:
    name: str
    text: str = field(repr=False)


def render(templates: Sequence[Text], metadata: JsonMap, timeout_s: float) -> list[str]:
    """Each template filled in, in order. Raises ApplyError naming the first one that cannot be."""
    if not templates:
        return []
    reading, writing = os.pipe2(os.O_CLOEXEC)
    child = os.fork()
    if not child:
        _child(templates, metadata, writing, timeout_s)
    os.close(writing)
    try:
        said, in_time = _read(reading, timeout_s)
    finally:
        os.close(reading)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _results(templates, said, in_time, timeout_s)


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


def _results(templates: Sequence[Text], said: bytes, in_time: bool, timeout_s: float) -> list[str]:
    texts: list[str] = []
    for line in said.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        answer = json.loads(line)
        if "fault" in answer:
            raise ApplyError(f"template {templates[len(texts)].name}: {answer['fault']}")
        texts.append(answer["text"])
    if len(texts) < len(templates):
        why = "it needs too much memory" if in_time else f"not done after {timeout_s:g} s, or too long"
        raise ApplyError(f"template {templates[len(texts)].name}: {why}; look for a loop without an end")
    return texts


# ------------------------------------------------------------------------------------------- in the child


def _child(templates: Sequence[Text], metadata: JsonMap, writing: int, timeout_s: float) -> None:
    """Say one line of JSON for each template; never returns."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        try:
            environment = _environment()
        except ImportError:
            _say(writing, {"fault": "jinja2 3.1.6 or newer is missing; install os-deploy-agent[templates]"})
            return
        for rehearsed in ("{{ 'x' | pprint }}", "{{ x }}", "{% x"):  # whatever is loaded late, nobody may not read
            _answer(environment, Text("", rehearsed), {})
        _confine(timeout_s)
        for template in templates:
            _say(writing, _answer(environment, template, metadata))
    finally:
        os._exit(0)


def _answer(environment: Any, template: Text, metadata: JsonMap) -> dict[str, str]:
    import jinja2  # noqa: PLC0415 - only the child has it

    try:
        return {"text": environment.from_string(template.text).render(metadata)}
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
