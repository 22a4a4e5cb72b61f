"""What the tools are fed: JSON of every kind, spelled in many ways, and sometimes damaged."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from tests.fuzz.guest import File

KEYS = ("a", "b", "c", "d", "a.b", "0", "deep", "ü", "a b", "")
TEXTS = (
    "",
    "x",
    "0",
    "true",
    "a_b",
    "192.0.2.1:80",
    "<&\">'",
    "é漢\U0001f600",
    "{{a}}",
    "{{#a}}",
    "two\nlines\n",
    " ",
    "\t",
)

key = st.sampled_from(KEYS)
text = st.sampled_from(TEXTS) | st.text(st.characters(codec="utf-8"), max_size=8)
number = st.integers(-3, 3) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalar = st.none() | st.booleans() | number | text
value = st.recursive(
    scalar, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(key, inner, max_size=3), max_leaves=8
)
mapping = st.fixed_dictionaries(
    {}, optional={"a": value, "b": value, "deep": st.dictionaries(key, value, max_size=3)}
).flatmap(lambda some: st.dictionaries(key, value, max_size=4).map(lambda more: {**more, **some}))


def rare(draw: st.DrawFn, one_in: int) -> bool:
    """True about once in so many times; the simplest example is always the usual one."""
    return draw(st.integers(0, one_in - 1)) == one_in * 2 // 3


def spelled(content: object, style: int) -> bytes:
    """The same JSON in one of several spellings."""
    match style % 4:
        case 0:
            return json.dumps(content).encode()
        case 1:
            return json.dumps(content, indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")
        case 2:
            return f"\n {json.dumps(content, separators=(',', ':'))}\r\n".encode()
        case _:
            return json.dumps(content, sort_keys=True).encode()


def damaged(content: bytes, at: int) -> bytes:
    """Cut somewhere, so that it is no JSON most of the time."""
    return content[: at % (len(content) + 1)]


ODD = (
    b"",
    b" ",
    b"null",
    b"[]",
    b"[1]",
    b"{}",
    b'"text"',
    b"0",
    b"{'a': 1}",
    b'{"a": 1,}',
    b'{"a": 1}{"a": 2}',
    b'{"a": 1, "a": 2}',
    b'\xef\xbb\xbf{"a": 1}',
    b'{"a": "\xff"}',
    b'{"a": "\\ud800"}',
    b'{"a": NaN}',
    b'{"a": -Infinity, "b": 1e400}',
    b'{"a": 1e5, "b": 1E+2, "c": -0, "d": -0.0, "deep": 0.1e-7}',
    b'{"a": 123456789012345678901234567890}',
    b'{"a": {"b": {"c": [1, {"d": null}]}}}',
    b'{"a": "tab\tinside"}',
    b'{"a": "\\u0000"}',
    b"{" + b'"a":{' * 40 + b"}" * 41,
)


@st.composite
def document(draw: st.DrawFn, content: st.SearchStrategy[object] = mapping) -> bytes:
    """A metadata file: mostly good, at times odd or damaged."""
    if rare(draw, 20):
        return draw(st.sampled_from(ODD))
    good = spelled(draw(content), draw(st.integers(0, 3)))
    return damaged(good, draw(st.integers(0, 500))) if rare(draw, 30) else good


def files(content: st.SearchStrategy[bytes]) -> st.SearchStrategy[File]:
    return st.builds(File, content, st.sampled_from((0o644, 0o600, 0o640, 0o444)))
