"""`agent doctor`: walks the way a deployment takes, says what it found at each step, and ends with the likely cause."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from agent import log, masking
from agent.cli.main import given
from agent.errors import SettingsError
from agent.model import Json, JsonMap
from agent.view import page

if TYPE_CHECKING:
    from agent.doctor.diagnose import Diagnosis

_COLOUR = {"ok": "good", "odd": "odd", "bad": "bad"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument(
        "--offline", action="store_true", help="ask no source and no endpoint, look at this guest alone"
    )


def run(arguments: argparse.Namespace) -> int:
    """The exit status: 0 nothing is to be mended, 1 something is, and what."""
    from agent.doctor import diagnose, evidence  # noqa: PLC0415 - the network side, for those who ask

    log.set_level("error")  # what sources say is among the findings
    try:
        found = evidence.gather(given(arguments), ask=not arguments.offline)
    except SettingsError as exc:
        found = evidence.Evidence(0.0, settings_fault=str(exc))
    diagnosis = diagnose.diagnose(found)
    if arguments.json:
        print(json.dumps(masking.value(_as_json(diagnosis)), indent=2))
        return diagnose.as_status(diagnosis)
    ink = page.here(sys.stdout)
    width = min(max(len(finding.step) for finding in diagnosis.findings), 24)
    for finding in diagnosis.findings:
        print(f"{ink(f'{finding.mark:3}', _COLOUR[finding.mark])}  {page.cell(finding.step, width)}  ", end="")
        first, *rest = page.wrapped(masking.text(finding.text), " " * 2, " ", page.WIDTH - width - 7)
        print(first.strip(), *(f"{'':{width + 7}}{line.strip()}" for line in rest), sep="\n")
    print()
    if diagnosis.about:
        print(*page.wrapped(masking.text(diagnosis.about), " " * 12, "because of  "), sep="\n")
    for line in page.wrapped(
        masking.text(f"{diagnosis.cause.title} [{diagnosis.cause.code}]"), " " * 12, "most likely "
    ):
        print(line)
    for line in page.wrapped(diagnosis.cause.next_step, " " * 12, "what to do  "):
        print(line)
    return diagnose.as_status(diagnosis)


def _as_json(diagnosis: Diagnosis) -> JsonMap:
    cause = diagnosis.cause
    said: JsonMap = {"code": cause.code, "title": cause.title, "next_step": cause.next_step, "about": diagnosis.about}
    findings: list[Json] = [
        {"step": found.step, "mark": found.mark, "text": found.text, "code": found.code} for found in diagnosis.findings
    ]
    return {"findings": findings, "cause": said}
