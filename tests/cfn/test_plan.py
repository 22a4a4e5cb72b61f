"""What is judged before anything is done: configSets, faults with their path, restart triggers, versions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.apply import cfn, cfn_hooks, cfn_metadata, cfn_packages, cfn_sets
from agent.apply.cfn_model import INIT, Changes, Config, File, Service, User, to_be_restarted, with_names
from agent.errors import MetadataError

NAMES = ("a", "b", "c", "d")


def init(**sets: object) -> dict[str, object]:
    return {"configSets": sets, **{name: {} for name in NAMES}}


def test_sets_nest_and_keep_their_order() -> None:
    content = init(default=["a", {"ConfigSet": "more"}, "a"], more=["b", {"ConfigSet": "last"}], last="c")

    assert ("a", "b", "c", "a") == cfn_sets.choose(content)
    assert ("c", "b", "c") == cfn_sets.choose(content, [" last ", "more"])


@pytest.mark.parametrize(
    ("sets", "asked", "told"),
    [
        ({"default": [{"ConfigSet": "b"}], "b": [{"ConfigSet": "default"}]}, [], "circular"),
        ({"default": ["ghost"]}, [], "no config ghost"),
        ({"a": ["a"]}, [], "no configSet default"),
        ({"default": []}, [], "is empty"),
        ({"default": [{"ConfigSet": "a", "x": 1}]}, [], "configSets.default[0]"),
        ({"default": ["configSets"]}, [], "no config configSets"),
    ],
)
def test_sets_that_cannot_be_run_are_named(sets: dict[str, object], asked: list[str], told: str) -> None:
    with pytest.raises(MetadataError) as caught:
        cfn_sets.choose(init(**sets), asked)

    assert told in str(caught.value)


@given(st.lists(st.lists(st.sampled_from(NAMES), min_size=1), min_size=1, max_size=5))
def test_a_chain_of_sets_is_the_chain_of_their_lists(lists: list[list[str]]) -> None:
    sets = {str(number): [*names, {"ConfigSet": str(number + 1)}] for number, names in enumerate(lists[:-1])}
    sets[str(len(lists) - 1)] = list(lists[-1])

    assert tuple(name for names in lists for name in names) == cfn_sets.choose(init(**sets), ["0"])


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"files": {"/x": {"content": "c", "mode": 644}}}, "config.files./x.mode"),
        ({"files": {"/x": {}}}, "config.files./x: neither content nor source"),
        ({"files": {"/x": {"content": "c", "owner": "nosuchuser"}}}, "config.files./x.owner"),
        ({"files": {"/x": {"content": "%", "encoding": "rot13"}}}, "config.files./x.encoding"),
        ({"files": {"/x": {"source": "ftp://h/x"}}}, "config.files./x.source"),
        ({"files": {"/x": {"source": "http://h/x", "authentication": "web"}}}, "config.files./x.authentication"),
        ({"groups": {"-o": {}}}, "config.groups.-o"),
        ({"users": {"u": {"uid": "x"}}}, "config.users.u.uid"),
        ({"packages": {"apt": {"--allow": []}}}, "config.packages.apt.--allow"),
        ({"packages": {"rpm": {"x": []}}}, "config.packages.rpm.x"),
        ({"sources": {"/d": "/local"}}, "config.sources./d"),
        ({"commands": {"c": {"command": {"x": 1}}}}, "config.commands.c.command"),
        ({"commands": {"c": {"command": "x", "env": []}}}, "config.commands.c.env"),
        ({"services": {"systemd": {"a b": {}}}}, "config.services.systemd.a b"),
    ],
)
def test_a_fault_is_named_with_its_path(section: dict[str, object], path: str) -> None:
    with pytest.raises(MetadataError) as caught:
        cfn.plan({INIT: {"config": section}})

    assert path in str(caught.value)
    assert "nothing was changed" in str(caught.value)


@pytest.mark.parametrize("section", ["packages", "groups", "users", "sources", "files", "commands", "services"])
def test_an_empty_list_stands_for_an_empty_section(section: str) -> None:
    empty = cfn.plan({INIT: {"config": {}}})

    assert empty == cfn.plan({INIT: {"config": {section: []}}})


def test_all_faults_are_named_at_once() -> None:
    broken = {"files": {"/x": {"content": "c", "mode": 1}}, "commands": {"c": {"command": 5}}}

    with pytest.raises(MetadataError) as caught:
        cfn.plan({INIT: {"config": broken}})

    assert "files./x.mode" in str(caught.value)
    assert "commands.c.command" in str(caught.value)


def test_a_secret_of_the_document_is_in_no_message() -> None:
    metadata = {INIT: {"config": {"files": {"/x": {"content": {"password": "hunter2"}, "mode": 5}}}}}

    with pytest.raises(MetadataError) as caught:
        cfn.plan(metadata)

    assert "hunter2" not in str(caught.value)


def test_an_owner_may_be_made_by_the_run_itself() -> None:
    file = Config("c", files=(File("/x", b"", owner="new"),))
    user = Config("u", users=(User("new"),))

    def nobody(_name: str) -> bool:
        return False

    assert [] == cfn.strangers([user, file], user=nobody, group=nobody)
    assert 1 == len(cfn.strangers([file, user], user=nobody, group=nobody))


def test_what_nobody_knows_is_passed_over_with_a_word() -> None:
    plan = cfn.plan({INIT: {"config": {"packages": {"msi": {"x": []}}, "extra": {}}}})

    assert 2 == len(plan.warnings)


def test_a_service_restarts_for_what_it_names_and_for_nothing_else() -> None:
    service = Service("systemd", "web", triggers={"files": frozenset({"/a"})}, packages=frozenset({("apt", "nginx")}))
    nothing = Changes()

    assert not to_be_restarted(service, with_names(nothing, "files", frozenset({"/b"})))
    assert not to_be_restarted(service, with_names(nothing, "commands", frozenset({"/a"})))
    assert to_be_restarted(service, with_names(nothing, "files", frozenset({"/a", "/b"})))
    assert to_be_restarted(service, Changes(packages=frozenset({("apt", "nginx")})))
    assert not to_be_restarted(service, Changes(packages=frozenset({("yum", "nginx")})))


def test_packages_come_by_manager_in_the_old_order() -> None:
    config = cfn.plan(
        {INIT: {"config": {"packages": {"gem": {"g": []}, "yum": {"y": "1"}, "apt": {"a": []}}}}}
    ).configs[0]

    assert ["apt", "yum", "gem"] == [package.manager for package in config.packages]


@pytest.mark.parametrize(
    ("low", "high"), [("1.9", "1.10"), ("1.0~rc1", "1.0"), ("1.0", "1.0.1"), ("1a", "1.1"), ("", "1")]
)
def test_versions_compare_as_rpm_compares_them(low: str, high: str) -> None:
    assert (-1, 1, 0) == (
        cfn_packages.compare(low, high),
        cfn_packages.compare(high, low),
        cfn_packages.compare(high, high),
    )
    assert high == cfn_packages.newest([low, high])


def test_dpkg_status_tells_what_is_installed() -> None:
    status = (
        "Package: a\nStatus: install ok installed\nVersion: 1-2\n\n"
        "Package: b\nStatus: deinstall ok config-files\nVersion: 3\n"
    )

    assert {"a": "1-2"} == cfn_packages.installed_debs(status)


@pytest.mark.parametrize(
    ("text", "parts"),
    [("a.b", ("a", "b")), ("'k.dot'.z", ("k.dot", "z")), (r"k\.dot.z", ("k.dot", "z")), ("a.a.b", ("a", "a", "b"))],
)
def test_a_key_may_hold_dots(text: str, parts: tuple[str, ...]) -> None:
    assert parts == cfn_metadata.key_parts(text)


@pytest.mark.parametrize(
    ("trigger", "old", "new", "fires"),
    [
        ("post.add", cfn_hooks.ABSENT, 1, "post.add"),
        ("post.update", cfn_hooks.ABSENT, 1, "post.update"),
        ("post.update", 1, 2, "post.update"),
        ("post.update", 1, 1, ""),
        ("post.add", 1, 2, ""),
        ("post.remove", 1, cfn_hooks.ABSENT, "post.remove"),
        ("post.update", 1, cfn_hooks.ABSENT, ""),
        ("post.updated", 1, 2, ""),
    ],
)
def test_a_hook_fires_for_its_trigger(trigger: str, old: object, new: object, fires: str) -> None:
    hook = cfn_hooks.HupHook("h", (trigger,), "R", "Metadata", (), "true", "root")

    assert fires == cfn_hooks.concerned(hook, old, new)  # type: ignore[arg-type]
