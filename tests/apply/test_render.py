"""Mustache as os-apply-config speaks it; what is expected here is what pystache 0.6.8 printed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.apply import render
from agent.errors import ApplyError
from agent.model import Json

TABLE: list[tuple[str, Json, str]] = [
    ("{{n}}|{{{s}}}|{{&s}}", {"n": None, "s": '<a>&"'}, '|<a>&"|<a>&"'),
    ("{{#o}}x{{/o}}", {"o": 0}, ""),
    ("{{#o}}[{{.}}]{{/o}}", {"o": "str"}, "[str]"),
    ("{{#o}}[{{.}}]{{/o}}", {"o": [1, None, [2, 3], {"a": 1}]}, '[1][][[2, 3]][{"a": 1}]'),
    ("{{#o}}x{{/o}}{{^o}}y{{/o}}", {"o": {}}, "y"),
    ("{{a.0}}{{a.b}}", {"a": ["q"]}, ""),
    ("{{ a b }}", {"a b": 1}, "1"),
    ("{{=| |=}}|a|\n|={{ }}=|{{a}}", {"a": 1}, "1\n1"),
    ("{{> nope}}x", {}, "x"),
    ("{{}}", {"a": 1}, "{{}}"),
    ("{{.}}", {"a": 1}, '{"a": 1}'),
    ("a {{! x\ny }} b", {}, "a  b"),
    ("{{=<% %>=}}\n<%#o%>\nk\n<%/o%>\n", {"o": [1]}, "k\n"),
    ("{{#a}}\r\nx\r\n{{/a}}\r\n", {"a": [1]}, "x\r\n"),
    ("{{#o}}{{#p}}{{x}}{{/p}}{{/o}}", {"o": {"x": 1}, "p": {"y": 2}}, "1"),
    ("{{#o}}{{a.b}}{{/o}}", {"o": {"a": {"c": 1}}, "a": {"b": 2}}, ""),
    ("{{a.b}}", {"a.b": 7, "a": {}}, ""),
    ("{{{a}}", {"a": 1}, ""),
    ("{{a}}}", {"a": 1}, "1}"),
    ("{{r}} {{e}} {{t}}", {"r": 1.0, "e": 1e30, "t": True}, "1.0 1e+30 true"),
    ("{{#a}}({{#.}}{{.}},{{/.}}){{/a}}", {"a": [[1, 2], [3]]}, "(1,2,)(3,)"),
    ("\t{{#a}}\n  i\n\t{{/a}}\nend", {"a": 1}, "  i\nend"),
    ("a{{b", {"b": 1}, "a{{b"),
    ("{{#a}}x{{/a }}", {"a": True}, "x"),
    ("{{..}}{{.a}}", {"a": 1}, ""),
    ("{{s}} {{o}}", {"s": "hé世", "o": {"k": "é"}}, 'hé世 {"k": "\\u00e9"}'),
]
PLAIN = st.text(st.characters(exclude_characters="{}", exclude_categories=["Cs"]))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(("template", "metadata", "expected"), TABLE)
def test_a_template_renders_as_it_always_did(template: str, metadata: Json, expected: str) -> None:
    assert expected == render.render(template, metadata)


@pytest.mark.parametrize(
    ("template", "where"),
    [
        ("a\n{{#open}}y", "line 2: {{#open}} is never closed"),
        ("{{/a}}", "no section is open"),
        ("{{#a}}{{#b}}{{/a}}{{/b}}", "{{#b}} is open"),
        ("{{=x=}}", "two delimiters"),
        ("{{#a}}" * 100, "deeper"),
    ],
)
def test_a_broken_template_says_where(template: str, where: str) -> None:
    with pytest.raises(ApplyError) as caught:
        render.render(template, {})

    assert where in str(caught.value)


def test_a_partial_is_indented_and_one_that_includes_itself_ends() -> None:
    assert "<\n  a=1\n  b\n>" == render.render("<\n  {{> p}}\n>", {"a": 1}, lambda _: "a={{a}}\nb\n")
    with pytest.raises(ApplyError, match="nest deeper"):
        render.render("{{> p}}", {}, lambda _: "x{{> p}}")


@given(PLAIN)
def test_text_without_tags_is_unchanged(text: str) -> None:
    assert text == render.render(text, {})


@given(JSON)
def test_a_value_is_written_once_and_never_rendered_again(value: Json) -> None:
    assert render.as_text(value) == render.render("{{v}}", {"v": value})
    assert "{{v}}" == render.render("{{v}}", {"v": "{{v}}"})


@given(JSON)
def test_of_a_section_and_its_inverse_exactly_one_is_rendered(value: Json) -> None:
    both = render.render("{{#v}}+{{/v}}", {"v": value}), render.render("{{^v}}-{{/v}}", {"v": value})

    assert ("", "-") == both or (both[1] == "" and set(both[0]) == {"+"})
