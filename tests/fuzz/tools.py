"""The tools that are compared: what is generated for each, and what is expected to differ."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hypothesis.strategies import SearchStrategy

from tests.fuzz import apply_config, cfn_init, collect_config, kolla, refresh_config
from tests.fuzz.guest import Step
from tests.fuzz.judge import Expected


@dataclass(frozen=True)
class Tool:
    """One generator; `examples` is how many of them `make test` runs."""

    scenes: SearchStrategy[tuple[Step, ...]]
    expected: tuple[Expected, ...]
    ignored: Callable[[str], bool]
    examples: int


TOOLS = {
    "os-apply-config": Tool(apply_config.scenes(), apply_config.EXPECTED, apply_config.ignored, 50),
    "os-apply-config --type": Tool(apply_config.typed(), (), apply_config.ignored, 20),
    "os-refresh-config": Tool(refresh_config.scenes(), refresh_config.EXPECTED, refresh_config.ignored, 8),
    "dib-run-parts": Tool(refresh_config.parts(), refresh_config.EXPECTED, refresh_config.ignored, 14),
    "os-collect-config": Tool(collect_config.scenes(), collect_config.EXPECTED, collect_config.ignored, 20),
    "cfn-init": Tool(cfn_init.scenes(), cfn_init.EXPECTED, cfn_init.ignored, 25),
    "kolla_set_configs": Tool(kolla.scenes(), kolla.EXPECTED, kolla.ignored, 25),
}
