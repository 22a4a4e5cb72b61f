"""What an attacker sends: documents of the right shape with the wrong things in them, and bytes that were damaged."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import strategies as st

Json = Any

WORDS = (
    *("", " ", "0", "-1", "1e999", "inf", "nan", "٣", "1_0", "0x10", "true", "null", "~", "x" * 5000, "\0", "\x1b[31m"),
    *("../../etc/passwd", "/etc/passwd", "/", ".", "..", "//", "a/../..", "file:///etc/passwd", "http://[", "http://["),
    *(
        "https://u:p@h:99999/x?y=1",
        "http://\udcff/",
        "\ud800",
        "\u202e",
        "é" * 300,
        "a\nb",
        "a\rb",
        "%",
        "%zz",
        "%(x)s",
    ),
    *(
        "{{",
        "{{a}}",
        "{{#a}}",
        "{{/a}}",
        "{{=<% %>=}}",
        "{{>a}}",
        "{% for %}",
        "{{ ().__class__ }}",
        "${x}",
        "$(x)",
        "`x`",
    ),
    *("root", "root:root", "nobody:", ":", "0644", "0o644", "99999", "=2", "-rf", "--", "a=b", "[x]", "[", "9" * 400),
    *("2026-13-45T00:00:00Z", "9999-99-99", "Thu, 99 Foo 2026", "12:30:45", "SCRIPT", "Heat::Ungrouped", "component"),
)
NUMBERS = (0, 1, -1, 255, 2**31, 2**63, -(2**63), 2**70, 10**400, 0.1, -0.0, 1e308, 5e-324)
word = st.sampled_from(WORDS) | st.text(st.characters(), max_size=12)
number = st.sampled_from(NUMBERS) | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalar = st.none() | st.booleans() | number | word


def value(keys: Sequence[str]) -> st.SearchStrategy[Json]:
    """JSON of some depth, mostly with these keys."""
    key = st.sampled_from(list(keys)) | word
    return st.recursive(
        scalar, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(key, inner, max_size=5), max_leaves=12
    )


@st.composite
def twisted(draw: st.DrawFn, good: Sequence[Json], keys: Sequence[str]) -> Json:
    """A good document in which some places hold something else, or are gone."""
    return _twist(draw, draw(st.sampled_from(list(good))), value(keys), draw(st.integers(1, 8)))


def _twist(draw: st.DrawFn, content: Json, other: st.SearchStrategy[Json], one_in: int) -> Json:
    if draw(st.integers(0, 9)) * one_in >= 70:
        return draw(other)
    if isinstance(content, dict):
        return {key: _twist(draw, inner, other, one_in) for key, inner in content.items()}
    if isinstance(content, list):
        return [_twist(draw, inner, other, one_in) for inner in content]
    return content


def spelled(content: Json) -> bytes:
    """As JSON; what Python writes that is none (NaN) is sent, too."""
    return json.dumps(content).encode()


DEEP = (b"[" * 100_000, b"[" * 900 + b"]" * 900, b'{"a":' * 3000, b'{"deployments":' + b"[" * 300 + b"]" * 300 + b"}")
ODD = (
    *(b"", b" ", b"null", b"[]", b"{}", b'""', b"0", b"\xff\xfe", b"\xef\xbb\xbf{}", b"\0", b"NaN", b"1" * 5000),
    *(b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 1, "a": 2}', b'{"\\ud800": "\\ud800"}', b'"' + b"x" * 1_000_000 + b'"'),
    *(b"<html>please log in</html>", b"{'a': 1}", b'{"a": 1}{', b"\x1f\x8b\x08\0"),
)
_PIECES = (
    b"\0",
    b"\xff",
    b"{",
    b"}",
    b"[",
    b"]",
    b'"',
    b",",
    b":",
    b"\n",
    b"\r\n",
    b"&a ",
    b"*a",
    b"<",
    b">",
    b"&x;",
    b"\\u",
)


@st.composite
def damaged(draw: st.DrawFn, good: Sequence[bytes]) -> bytes:
    """Bytes that were good once: cut, doubled, swapped, with something in between."""
    data = draw(st.sampled_from(list(good)))
    for _ in range(draw(st.integers(0, 4))):
        start, end = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        match draw(st.integers(0, 3)):
            case 0:
                data = data[:start] + data[end:]
            case 1:
                data = data[:end] + data[start:end] + data[end:]
            case 2:
                data = data[:start] + draw(st.sampled_from(_PIECES) | st.binary(max_size=6)) + data[start:]
            case _:
                data = data[:start] + data[start:end][::-1] + data[end:]
    return data


def document(good: Sequence[Json], keys: Sequence[str]) -> st.SearchStrategy[bytes]:
    """JSON as bytes, of each kind of badness."""
    return (
        twisted(good, keys).map(spelled)
        | damaged([spelled(content) for content in good])
        | value(keys).map(spelled)
        | st.sampled_from((*ODD, *DEEP))
    )


_BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (letter + 1, letter + 1, b",".join([b"*%c" % letter] * 9)) for letter in range(97, 108)
)
YAML = (
    *(_BOMB, _BOMB + b"command: *l\n", b"config: *z\n", b"&a [*a]\n", b"a: &a\n  b: *a\n", b"<<: *x\n", b"<<: [1]\n"),
    *(b"a: !!python/object/apply:os.system [id]\n", b"!!set {a, b}\n", b"2026-01-01: x\n", b"? [a]\n: b\n", b"1: 2\n"),
    *(
        b"a: !!binary x\n",
        b"a: 0o9\n",
        b"a: 1:99:99\n",
        b"a: 2026-99-99\n",
        b"- " * 3000,
        b"[" * 30_000,
        b"a: |\n" + b" x\n" * 9,
    ),
    *(
        b"%YAML 9.9\n---\n",
        b"--- a\n--- b\n",
        b"a: .nan\n",
        b"a: .inf\n",
        b"!!float x\n",
        b"a: !<x> y\n",
        b"\t",
        b"a: \xff\n",
    ),
)


def yaml(good: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    return damaged([*good, *YAML]) | st.sampled_from((*YAML, *ODD))
