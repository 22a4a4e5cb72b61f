"""What is read from files, or comes within metadata: documents, templates, policies, settings, replies of hooks."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from agent import hooks, jsontext, parse, settings, signaller, tls
from agent.apply import cfn, cfn_api, cfn_hooks, files_document, jinja, kolla_document, render, values
from agent.hooks import reading, workplace
from agent.model import JsonMap
from agent.settings import Given
from agent.trust import judge, keys, policy, source, statement
from tests.hostile.judge import Door
from tests.hostile.material import ODD, WORDS, damaged, document, scalar, spelled, twisted, value, word, yaml
from tests.hostile.wire import DEPLOYMENT, KEYS, METADATA, SIGNATURE

KOLLA = {
    "command": "/bin/true -x",
    "config_files": [{"source": "/a", "dest": "/b", "owner": "root", "perm": "0600", "optional": True, "merge": False}],
    "directories": [{"path": "/d", "owner": "root:root", "perm": "0755"}],
    "permissions": [{"path": "/p", "owner": "root", "recurse": True, "exclude": ["a.*"]}],
}
KOLLA_KEYS = ("command", *KOLLA, "source", "dest", "owner", "perm", "optional", "merge", "path", "recurse", "exclude")
FILES = {
    "files": {
        "/etc/a": {"content": "x", "mode": "0644", "owner": "root", "group": "root"},
        "/etc/b": {"content": "eA==", "encoding": "base64", "notify": {"restart": ["x.service"]}},
        "/etc/c": {"source": "http://cloud.invalid/c", "sha256": "0" * 64, "validate": ["true"]},
        "/etc/d": {"link": "/etc/a"},
    }
}
FILES_KEYS = ("files", "content", "mode", "owner", "encoding", "source", "sha256", "link", "validate", "append")
INIT = {
    "AWS::CloudFormation::Init": {
        "configSets": {"default": ["a", {"ConfigSet": "b"}], "b": ["config"]},
        "a": {"commands": {"1": {"command": ["true"], "env": {"A": "b"}, "test": "true", "ignoreErrors": "true"}}},
        "config": {
            "packages": {"apt": {"curl": ["1"]}, "rpm": {"x": "http://x/x.rpm"}},
            "groups": {"g": {"gid": "5"}},
            "users": {"u": {"uid": "5", "groups": ["g"], "homeDir": "/x"}},
            "sources": {"/d": "http://x/x.tar.gz"},
            "files": {"/f": {"content": "{{a}}", "context": {"a": 1}, "mode": "000644", "owner": "root"}},
            "services": {"systemd": {"x": {"enabled": "true", "ensureRunning": True, "files": ["/f"]}}},
        },
    },
    "AWS::CloudFormation::Authentication": {"c": {"type": "basic", "username": "u", "password": "p", "uris": ["x"]}},
}
INIT_KEYS = (
    *INIT,
    "configSets",
    "ConfigSet",
    *INIT["AWS::CloudFormation::Init"]["config"],
    "content",
    "command",
    "type",
)
KEY = "xFfG0tBXAZTM4YHBxDcV4ya2yBTW3fEi+GAKUaKhtJE="
POLICY = f"""version: 1
groups: [script]
sources: [heat]
run_as: [root]
limits: {{timeout: 3600, memory: 1G}}
signature_required: true
signers:
  - {{name: release, key: {KEY}, groups: [script], purpose: p}}
""".encode()
HOT = b"""heat_template_version: 2016-10-14
resources:
  web:
    type: OS::Heat::SoftwareConfig
    properties: {group: script, config: "x", inputs: [{name: a}], outputs: [{name: b}]}
  two:
    type: OS::Heat::StructuredConfig
    properties: {config: {a: {get_input: b}}}
  three:
    type: OS::Heat::SoftwareComponent
    properties: {configs: [{actions: [CREATE], config: {get_file: x}, tool: script}]}
"""
SETTINGS = (
    b"[DEFAULT]\npolling_interval = 5\ncollectors = heat, cfn\nrunner=unit\n[heat]\nauth_url: x\n  y\n; c\n",
    b"[main]\nstack=s\ncredential-file=/x\ninterval=5\n[hook]\ntriggers=post.update\npath=Resources.a\naction=true\n",
    b"AWSAccessKeyId=a\nAWSSecretKey=b\n",
)
INIS = damaged(SETTINGS) | st.sampled_from(
    (*SETTINGS, *ODD, b"[" * 5000, b"a=" + b"x" * 1_000_000, b"[a\n", b"=x\n", b" x\n")
)
MUSTACHE = (
    "{{a}} {{{a}}} {{&a.b}} {{#a}}{{.}}{{/a}} {{^a}}x{{/a}} {{!c}} {{>p}} {{=<% %>=}}<%a%>",
    "{{#a}}" * 400 + "{{/a}}" * 400,
    "{{" * 20_000,
    "{{#a}}{{#a}}{{#a}}{{#a}}{{#a}}x{{/a}}{{/a}}{{/a}}{{/a}}{{/a}}",
    "{{={ }=}}{a}{={{ }}={}{{a}}",
)
BIG = {"a": [[[["x" * 50] * 20] * 20] * 20] * 20}
JINJA = (
    "{{ a }} {% for x in a %}{{ x }}{% endfor %} {{ a|default('x') }} {% if a %}y{% endif %}",
    "{{ 'x' * 500000000 }}",
    "{% for x in range(100000000) %}{% endfor %}",
    "{% for x in range(1000) %}{% for x in range(1000) %}{{ 'x' * 1000 }}{% endfor %}{% endfor %}",
    "{{ 9 ** 9 ** 9 }}",
    "{{ ().__class__.__mro__ }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '{:>1000000000}'.format(1) }}",
    "{{ [1] * 100000000 }}",
    "{{ lipsum(100000) }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% include 'x' %}{% import 'y' as z %}",
    "{{ " + "(" * 3000 + "1" + ")" * 3000 + " }}",
    "{% if a %}" * 2000,
)


def in_a_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes, Path], None]:
    """The bytes as a file of that name, which is then read."""

    def take(data: bytes, scratch: Path) -> None:
        path = scratch / name
        path.write_bytes(data)
        path.chmod(0o600)
        read(path)

    return take


def settings_file(path: Path) -> None:
    text = path.read_bytes().decode("utf-8", "replace")
    Given(path.parent, files=((str(path), settings.parse_ini(text, str(path))),)).settings()


def policy_file(path: Path) -> None:
    rules = judge.load(path)
    for deployment in (DEPLOYMENT, {"id": "x"}):
        policy.refusal(rules, parse.deployment(dict(deployment)), judge.now(), keys.fits)


def template_to_sign(path: Path) -> None:
    for named in source.read(path):
        terms = statement.Terms("0" * 16, "p", "2099-01-01T00:00:00Z")
        source.pins(["a=1"], {**named.config, "inputs": [{"name": "a", "type": "Json"}]})
        statement.statement(named.config, terms)


def signed(config: JsonMap, _scratch: Path) -> None:
    found = statement.signed(config)
    rules = policy.parse(
        {"version": 1, "signers": [{"name": "n", "key": KEY}], "signature_required": True}, keys.identity
    )
    policy.refusal(rules, parse.deployment(config), judge.now(), keys.fits)
    if found:
        keys.fits(KEY, found.value, found.statement)


def mustache(sent: tuple[str, Any], _scratch: Path) -> None:
    text, metadata = sent
    render.render(text, metadata, lambda _: "{{>p}}{{a}}")


def jinja_template(sent: tuple[str, JsonMap], _scratch: Path) -> None:
    text, metadata = sent
    jinja.render([jinja.Text("x", text)], metadata, 5.0)


def damaged_text(good: tuple[str, ...]) -> st.SearchStrategy[str]:
    return st.sampled_from(good) | damaged([text.encode() for text in good]).map(
        lambda data: data.decode("utf-8", "replace")
    )


def lookup(sent: tuple[bytes, str, str], scratch: Path) -> None:
    """What `os-apply-config --key` reads."""
    data, key, kind = sent
    path = scratch / "a.json"
    path.write_bytes(data)
    values.listed(str(path))
    metadata = values.read([str(path)])
    try:
        found = values.value(values.below(metadata, key), key)
    except KeyError:  # the caller's, who has a default
        return
    values.spelled(found, kind)


def hook(group: str) -> Callable[[Any, Path], None]:
    """A hook that places files, fed with a config as a map or as text."""

    def take(config: Any, scratch: Path) -> None:
        told = parse.deployment({**DEPLOYMENT, "group": group, "config": config, "options": {}})
        place = workplace.workplace(told, group, Given(scratch).settings(), {})
        found = hooks.find(group, Given(scratch).settings(), {})
        assert found
        found.run(told, place)

    return take


def reply(stdout: bytes, _scratch: Path) -> None:
    """What a program of a hook directory says, up to the bytes of its signal."""
    body = parse.outcome_from_body(jsontext.decode_map(stdout, "a reply")).body()
    assert len(signaller.encode(body)) <= signaller.BODY_LIMIT


def config_text(text: str, _scratch: Path) -> None:
    reading.config_map(parse.deployment({**DEPLOYMENT, "config": text}))


def kolla(name: str) -> Callable[[bytes, Path], object]:
    return lambda data, _: kolla_document.parse(data, name)


def documents_of_files(data: bytes, _scratch: Path) -> None:
    files_document.parse(jsontext.decode_map(data, "the document"))


def init(data: bytes, _scratch: Path) -> None:
    metadata = jsontext.decode_map(data, "metadata")
    for asked in ((), ("default",)):
        cfn.plan(metadata, asked)


TEXTS = st.sampled_from(WORDS) | word
CONFIGS = [json.dumps(METADATA).encode(), b"a: 1\nb: [1, {c: d}]\n", b"- a\n", b"a: &x {b: 1}\nc: *x\n"]
REPLIES = [{"deploy_status_code": 0, "deploy_stdout": "x", "deploy_stderr": "y", "o": {"a": 1}}]
HIERA = {"hierarchy": ["common", "%{::fqdn}"], "datafiles": {"common": {"a": 1}}}

DOORS = (
    Door("kolla json", document([KOLLA], KOLLA_KEYS), kolla("config.json")),
    Door("kolla yaml", yaml([spelled(KOLLA)]), kolla("config.yaml")),
    Door("files document", document([FILES], FILES_KEYS), documents_of_files),
    Door("cfn-init", document([INIT], INIT_KEYS), init),
    Door("policy", yaml([POLICY]), in_a_file("policy.yaml", policy_file)),
    Door("template to sign", yaml([HOT, spelled(METADATA)]), in_a_file("stack.yaml", template_to_sign)),
    Door(
        "signed config",
        twisted([{**DEPLOYMENT, "options": {"signature": SIGNATURE}}], KEYS).filter(
            lambda sent: isinstance(sent, dict)
        ),
        signed,
    ),
    Door("settings", INIS, in_a_file("a.conf", settings_file)),
    Door("cfn-hup", INIS, in_a_file("cfn-hup.conf", lambda path: cfn_hooks.read([path]))),
    Door("credential file", INIS, in_a_file("c", cfn_api.credentials)),
    Door(
        "pem",
        damaged([b"-----BEGIN CERTIFICATE-----\nMEUw\n-----END CERTIFICATE-----\n"]),
        in_a_file("ca", lambda path: tls.ends_of(tls.Tls(str(path)))),
    ),
    Door("mustache", st.tuples(damaged_text(MUSTACHE), st.just(BIG) | value(("a", "b"))), mustache),
    Door("jinja", st.tuples(damaged_text(JINJA), st.dictionaries(st.sampled_from("ab"), scalar)), jinja_template),
    Door(
        "lookup",
        st.tuples(
            document([METADATA], KEYS),
            st.sampled_from(("a.b.0", "a.b", "deployments.0.id")) | TEXTS,
            st.sampled_from(("raw", "int", "netaddress", "netdevice", "dsn", "swiftdevices", "default")),
        ),
        lookup,
    ),
    Door("hook json-file", value(("/etc/a", "/b/../c", "/", "x")) | TEXTS, hook("json-file")),
    Door("hook hiera", twisted([HIERA], ("hierarchy", "datafiles")) | TEXTS, hook("hiera")),
    Door("text of a config", (yaml(CONFIGS).map(lambda b: b.decode("utf-8", "replace"))), config_text),
    Door("reply of a hook", document(REPLIES, ("deploy_status_code", "deploy_stdout", "deploy_stderr", "o")), reply),
)
