"""What the documentation quotes is run, what it links to is there, and the commands it names exist.

A fenced block marked `console` is run on the guest of the last `<!-- scene: … -->` above it, and what it prints has to
be what the page shows, but for numbers. `REWRITE=1 .ci/python -m pytest <this file>` writes the pages anew.
"""

import os
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.cli import main
from agent.settings import FIELDS, flag_of
from tests.conftest import CHECKOUT
from tests.operator.conftest import Ask
from tests.operator.scenes import SCENES
from tests.process.endpoint import Endpoint
from tests.process.guest import Guest

PAGES = sorted([CHECKOUT / "README.md", CHECKOUT / "CHANGELOG.md", *(CHECKOUT / "docs").rglob("*.md")])
PICTURE = CHECKOUT / "docs/timeline.svg"
SCENE = re.compile(r"<!-- scene: (\w+) -->")
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
WITH_CONSOLE = [page for page in PAGES if "```console" in page.read_text("utf-8")]


def scenes(text: str) -> dict[str, list[str]]:
    """Scene -> the console blocks that stand below it."""
    found: dict[str, list[str]] = {}
    pieces = SCENE.split(text)
    for scene, piece in zip(pieces[1::2], pieces[2::2], strict=True):
        found.setdefault(scene, []).extend(CONSOLE.findall(piece))
    return found


SHOWN = [(page, scene) for page in WITH_CONSOLE for scene, blocks in scenes(page.read_text("utf-8")).items() if blocks]


def run(block: str, guest: Guest, ask: Ask) -> str:
    """A console block as it is now."""
    lines = []
    for line in block.splitlines():
        if line.startswith("$ "):
            program, *words = shlex.split(line.removeprefix("$ "))
            assert program == "agent", line
            said = ask(*words)
            lines += [line, *(said.stdout + said.stderr).replace(str(guest.root), "").splitlines()]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def shape(block: str) -> str:
    """What stays the same from run to run: no numbers and units, no bars, no widths."""
    text = re.sub(r"\d[\d.:TZ-]*( (ms|s|min|h|days))?( ago)?|just now", "#", block)
    text = re.sub(r"[·█▓▒▏]+", "", text)
    return re.sub(r"[#\s]+", " ", text)


@pytest.mark.parametrize(("page", "scene"), SHOWN, ids=[f"{page.stem}-{scene}" for page, scene in SHOWN])
def test_what_a_page_shows_is_what_the_command_prints(
    page: Path, scene: str, guest: Guest, endpoint: Endpoint, ask: Ask
) -> None:
    SCENES[scene](guest, endpoint)

    for block in scenes(page.read_text("utf-8"))[scene]:
        printed = run(block, guest, ask)
        if os.environ.get("REWRITE"):
            page.write_text(
                page.read_text("utf-8").replace(f"```console\n{block}", f"```console\n{printed}", 1), "utf-8"
            )
            block = printed
            if scene == "failed":
                ask("timeline", "--svg", str(PICTURE))
        assert shape(block) == shape(printed), "run this test again with REWRITE=1"


def test_no_console_block_stands_outside_a_scene() -> None:
    for page in WITH_CONSOLE:
        text = page.read_text("utf-8")

        assert len(CONSOLE.findall(text)) == sum(len(blocks) for blocks in scenes(text).values()), page


def test_the_picture_of_the_readme_is_drawn_by_this_version(guest: Guest, endpoint: Endpoint, ask: Ask) -> None:
    SCENES["failed"](guest, endpoint)
    ask("timeline", "--svg", str(guest.root / "drawn.svg"))

    drawn, shown = ((path.read_text("utf-8")) for path in (guest.root / "drawn.svg", PICTURE))
    for part in (r"(?s)<style>.*?</style>", r">([a-z][a-z -]+)</text>"):
        assert re.findall(part, drawn) == re.findall(part, shown)


def anchors(page: Path) -> set[str]:
    """The names that GitHub gives to headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(CHECKOUT)) for page in PAGES])
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in LINK.findall(page.read_text("utf-8")):
        path, _, anchor = link.partition("#")
        if "://" in path or path.startswith("mailto:"):
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def quoted(text: str) -> Iterator[list[str]]:
    """Every `agent …` in a code block or between backticks, as words."""
    lines = re.findall(r"^(?:    |\$ )(agent [^\n]*)$", text, re.MULTILINE)
    for said in [*lines, *re.findall(r"`(agent [^`\n]*)`", text)]:
        words = re.sub(r"\s+#.*|\s*[|<>].*|\[.*|[…]", "", said).replace('"', "").replace("$(", "").split()
        if len(words) > 1 and words[1] != "serve.py":
            yield words[1:]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(CHECKOUT)) for page in PAGES])
def test_every_command_and_flag_that_is_named_exists(page: Path) -> None:
    settings = {flag_of(key) for key in FIELDS}
    for words in quoted(page.read_text("utf-8")):
        command = next((word for word in words if word in main.COMMANDS), "")
        top = {flag for action in main.parser_for("").arguments for flag in action.option_strings}
        known = (
            {flag for action in main.parser_for(command).arguments for flag in action.option_strings} | top | settings
        )
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert command or flags, f"{' '.join(words)}: no such command"
        assert flags <= known, f"{' '.join(words)}: {flags - known}"


def test_every_target_of_make_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        named = set(re.findall(r"(?:`|^    )make ([a-z]+)", page.read_text("utf-8"), re.MULTILINE))

        assert named <= targets, page
