"""Where documents come from. One module a source, each with two functions:

    configured(settings) -> bool                                    whether there is anything to ask
    collect(settings, client, tokens, previous) -> documents        ask; `previous` are its last good documents

`collect` raises Unavailable (nobody answers), Refused (the answer is no) or MetadataError (the answer is unusable); the
engine then keeps the last good documents. A source that answers "nothing new" gives `previous` back. Where the answer
is taken away by being read (a queue), a third function is called when the documents are on disk:

    acknowledge(settings, client, tokens, documents)                what led to these documents may go
"""

from __future__ import annotations

from types import ModuleType

from agent.collectors import cfn, config_drive, ec2, heat, heat_local, local, request, zaqar

COLLECTORS: dict[str, ModuleType] = {
    "heat_local": heat_local,
    "cfn": cfn,
    "heat": heat,
    "request": request,
    "local": local,
    "zaqar": zaqar,
    "ec2": ec2,
    "config_drive": config_drive,
}


def unknown(name: str) -> str:
    """What is wrong with the name of a source that is none of these."""
    return f"setting collectors: no source is called {name!r}; known: {', '.join(COLLECTORS)}"
