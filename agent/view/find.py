"""Which deployment an operator means: an id, a name, or the beginning of either that fits one alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from agent.errors import UsageError
from agent.view.guest import Known
from agent.view.page import plain

SHOWN = 8


def find(word: str, deployments: Sequence[Known]) -> Known:
    """The one that `word` names; whole names win over beginnings, and what is listed over what has left.

    Raises UsageError, which names the candidates.
    """
    if not word:
        raise UsageError("which deployment? an empty word fits all of them; see agent status")
    whole = [known for known in deployments if word in (known.entry.key, known.deployment.id, known.deployment.name)]
    begun = [k for k in deployments if k.entry.key.startswith(word) or k.deployment.name.startswith(word)]
    found = whole or begun
    listed = [known for known in found if known.listed]
    if len(listed) == 1:
        return listed[0]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"'{plain(word)}' fits {len(found)} deployments: {_names(found)}; give more of one")
    known_ones = f"; known: {_names(deployments)}" if deployments else "; none is known here yet"
    raise UsageError(f"no deployment is called '{plain(word)}'{known_ones}")


def _names(deployments: Sequence[Known]) -> str:
    more = f" and {len(deployments) - SHOWN} more" if len(deployments) > SHOWN else ""
    return ", ".join(f"{plain(k.deployment.name)} ({k.entry.key})" for k in deployments[:SHOWN]) + more
