"""What counts as the same, and who may differ: each expected difference names its line in docs/compatibility.md."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from tests.fuzz.guest import File, Pair, Seen, Step, Tree

STATUS, STDOUT, TREE = "status", "stdout", "tree"


@dataclass(frozen=True)
class Difference:
    """One step that went differently, with all that was laid before it."""

    step: Step
    files: dict[str, File]
    theirs: Seen
    ours: Seen
    kinds: frozenset[str]

    def __str__(self) -> str:
        names = self.theirs.tree.keys() | self.ours.tree.keys()
        paths = {name: (self.theirs.tree.get(name), self.ours.tree.get(name)) for name in sorted(names)}
        trees = "".join(f"\n    {name}: {old} / {new}" for name, (old, new) in paths.items() if old != new)
        said = [f"\n  {side}: {seen.status} {seen.stdout!r}\n    {seen.stderr[-600:]!r}" for side, seen in self.sides]
        laid = "".join(f"\n    {name}: {file}" for name, file in self.files.items())
        call = f"{self.step.tool} {json.dumps(self.step.argv)} {dict(self.step.environ)}"
        return f"{'+'.join(sorted(self.kinds))} of {call}\n  laid:{laid}{''.join(said)}\n  theirs / ours:{trees}"

    @property
    def paths(self) -> list[str]:
        """Where the trees differ, but for logs."""
        names = self.theirs.tree.keys() | self.ours.tree.keys()
        differing = (name for name in names if self.theirs.tree.get(name) != self.ours.tree.get(name))
        return sorted(name for name in differing if not name.startswith("var/log/"))

    @property
    def sides(self) -> tuple[tuple[str, Seen], tuple[str, Seen]]:
        return ("theirs", self.theirs), ("ours", self.ours)


@dataclass(frozen=True)
class Expected:
    """A difference that is meant: `line` stands in docs/compatibility.md, `holds` recognises it."""

    line: str
    holds: Callable[[Difference], bool]


Ignored: TypeAlias = Callable[[str], bool]


@dataclass
class Judge:
    """Runs scenes on both sides and counts what came of them."""

    pair: Pair
    expected: Iterable[Expected]
    ignored: Ignored
    seen: Counter[str] = field(default_factory=Counter)

    def judge(self, steps: tuple[Step, ...]) -> None:
        """Raises AssertionError for a difference that nothing expects. One that is expected ends the scene."""
        files: dict[str, File] = {}
        for step, theirs, ours in self.pair.run(steps):
            files |= {name: file for name, file in step.files.items() if file}
            self.seen["calls"] += 1
            assert b"Traceback (most recent" not in ours.stderr, f"{step}\n{ours.stderr.decode('utf-8', 'replace')}"
            kinds = self._kinds(theirs, ours)
            if not kinds:
                self.seen["same, failed" if ours.status else "same"] += 1
                continue
            difference = Difference(step, files, theirs, ours, kinds)
            reason = next((expected.line for expected in self.expected if expected.holds(difference)), None)
            assert reason is not None, str(difference)
            self.seen[f"expected: {reason}"] += 1
            return

    def _kinds(self, theirs: Seen, ours: Seen) -> frozenset[str]:
        pairs = {
            STATUS: (theirs.status, ours.status),
            STDOUT: (theirs.stdout, ours.stdout),
            TREE: (self._kept(theirs), self._kept(ours)),
        }
        return frozenset(kind for kind, (old, new) in pairs.items() if old != new)

    def _kept(self, seen: Seen) -> Tree:
        return {name: what for name, what in seen.tree.items() if not self.ignored(name)}
