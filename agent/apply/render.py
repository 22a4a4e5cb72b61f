r"""Mustache with os-apply-config's rules: nothing is escaped, a missing key is nothing, other than text is JSON.

Tags, sections, standalone lines, partials and changed delimiters are those of the mustache(5) that pystache speaks,
whose output this one matches byte for byte; but a section that is never closed is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from agent.errors import ApplyError
from agent.jsontext import as_text

if TYPE_CHECKING:  # the model is 10 ms of classes, which `os-apply-config --key` does without
    from agent.model import Json

Partials: TypeAlias = Callable[[str], str]
Delimiters: TypeAlias = tuple[str, str]

MAX_DEPTH = 64
"""How deep sections and partials may nest: a partial that includes itself ends here."""
OUTPUT, STEPS = 64 << 20, 500_000
"""Most characters that one template comes to, and most tags and texts that are put into it."""

_BEGINNING = re.compile("^(?=.)", re.MULTILINE)


class Variable(NamedTuple):
    name: str


class Partial(NamedTuple):
    name: str
    indent: str


class Section(NamedTuple):
    name: str
    inverted: bool
    nodes: tuple[Node, ...]


Node: TypeAlias = "str | Variable | Partial | Section"


def render(template: str, metadata: Json, partials: Partials = lambda _name: "") -> str:
    """The template filled in; `partials` gives the text of one by name. Raises ApplyError saying where it is wrong."""
    page = _Page()
    _render(parse(template), (metadata,), partials, 0, page)
    return "".join(page.said)


# --------------------------------------------------------------------------------------------------- parse


class Tag(NamedTuple):
    """One tag: its kind (one of `!>&/#^=` or nothing), its key, and the text that it and its line take up."""

    kind: str
    key: str
    begin: int
    end: int
    indent: str


@dataclass(slots=True)
class _Open:
    """A section that is being read."""

    kind: str
    key: str
    at: int
    nodes: list[Node]


@lru_cache(maxsize=1024)
def parse(template: str) -> tuple[Node, ...]:
    """The template as a tree."""
    stack = [_Open("", "", 0, [])]
    at = 0
    for tag in _tags(template):
        nodes = stack[-1].nodes
        if tag.begin > at:
            nodes.append(template[at : tag.begin])
        at = tag.end
        match tag.kind:
            case "#" | "^":
                stack.append(_Open(tag.kind, tag.key, tag.begin, []))
                if len(stack) > MAX_DEPTH:
                    raise ApplyError(f"{_line(template, tag.begin)}: sections nest deeper than {MAX_DEPTH}")
            case "/":
                closed = stack.pop()
                if not stack or closed.key != tag.key:
                    opened = f"{{{{{closed.kind}{closed.key}}}}} is open" if closed.kind else "no section is open"
                    raise ApplyError(f"{_line(template, tag.begin)}: {{{{/{tag.key}}}}}, but {opened}")
                stack[-1].nodes.append(Section(tag.key, closed.kind == "^", tuple(closed.nodes)))
            case ">":
                nodes.append(Partial(tag.key, tag.indent))
            case "" | "&":
                nodes.append(Variable(tag.key))
            case _:  # comments and changed delimiters leave nothing
                pass
    if len(stack) > 1:
        left = stack[-1]
        raise ApplyError(f"{_line(template, left.at)}: {{{{{left.kind}{left.key}}}}} is never closed")
    return (*stack[0].nodes, *([template[at:]] if at < len(template) else []))


def _tags(template: str) -> Iterator[Tag]:
    delimiters = ("{{", "}}")
    at = 0
    while (opened := template.find(delimiters[0], at)) >= 0:
        found = _pattern(delimiters).match(template, opened)
        if found is None:  # nothing closes this tag, so nothing closes a later one
            return
        kind, key = _kind_and_key(found)
        tag = _with_its_line(template, at, found, kind, key)
        yield tag
        at = tag.end
        if kind == "=":
            first, *rest = key.split()
            if not rest:
                raise ApplyError(f"{_line(template, opened)}: two delimiters are wanted, there is '{key}'")
            delimiters = (first, rest[0])


def _kind_and_key(found: re.Match[str]) -> tuple[str, str]:
    if found["delimiters"] is not None:
        return "=", found["delimiters"]
    if found["raw"] is not None:
        return "&", found["raw"]
    return found["kind"], found["key"]


def _with_its_line(template: str, at: int, found: re.Match[str], kind: str, key: str) -> Tag:
    """A tag that stands alone takes its whole line with it, unless it is one that writes a value."""
    begin, end = found.span()
    text_end = begin
    while begin > at and template[begin - 1] in " \t":
        begin -= 1
    alone = (begin == 0 or template[begin - 1] in "\r\n") and (end == len(template) or template[end] in "\r\n")
    if not alone or kind in ("", "&"):
        return Tag(kind, key, text_end, end, "")
    indent = template[begin:text_end]
    for newline in "\r\n":
        end += template.startswith(newline, end)
    return Tag(kind, key, begin, end, indent)


@lru_cache(maxsize=64)
def _pattern(delimiters: Delimiters) -> re.Pattern[str]:
    begin, end = (re.escape(delimiter) for delimiter in delimiters)
    return re.compile(
        rf"{begin}\s*(?:=\s*(?P<delimiters>.+?)\s*=|{{\s*(?P<raw>.+?)\s*}}"
        rf"|(?P<kind>[!>&/#^]?)\s*(?P<key>[\s\S]+?))\s*{end}"
    )


def _line(template: str, at: int) -> str:
    return f"line {template.count(chr(10), 0, at) + 1}"


# -------------------------------------------------------------------------------------------------- render

_MISSING = ""


@dataclass(slots=True)
class _Page:
    """What is written so far, within the bounds of all templates: sections over lists in lists multiply."""

    said: list[str] = field(default_factory=list)
    characters: int = 0
    steps: int = 0

    def say(self, text: str) -> None:
        self.said.append(text)
        self.characters += len(text)
        if self.characters > OUTPUT:
            raise ApplyError(f"it comes to more than {OUTPUT >> 20} MiB; write less of it")

    def step(self) -> None:
        self.steps += 1
        if self.steps > STEPS:
            raise ApplyError(f"its tags are filled in more than {STEPS} times; write less of it")


def _render(nodes: tuple[Node, ...], stack: tuple[Json, ...], partials: Partials, depth: int, page: _Page) -> None:
    for node in nodes:
        page.step()
        match node:
            case str():
                page.say(node)
            case Variable():
                page.say(as_text(_lookup(node.name, stack)))
            case Section():
                for value in _values(_lookup(node.name, stack), inverted=node.inverted):
                    _render(node.nodes, stack if node.inverted else (*stack, value), partials, depth, page)
            case Partial():
                if depth >= MAX_DEPTH:
                    raise ApplyError(f"partial '{node.name}': partials nest deeper than {MAX_DEPTH}")
                text = _BEGINNING.sub(node.indent, partials(node.name))
                _render(parse(text), stack, partials, depth + 1, page)


def _values(found: Json, *, inverted: bool) -> list[Json]:
    """What a section is rendered for, each in turn."""
    if inverted:
        return [] if found else [None]
    if not found:
        return []
    return found if isinstance(found, list) else [found]


def _lookup(name: str, stack: tuple[Json, ...]) -> Json:
    """The first part in the nearest object that has it, the other parts inside of that; nothing when one is missing."""
    if name == ".":
        return stack[-1]
    first, _, inside = name.partition(".")
    for value in reversed(stack):
        if isinstance(value, dict) and first in value:
            found = value[first]
            break
    else:
        return _MISSING
    for part in inside.split(".") if inside or name != first else ():
        if not isinstance(found, dict) or part not in found:
            return _MISSING
        found = found[part]
    return found
