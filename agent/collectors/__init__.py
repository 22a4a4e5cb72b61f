"""Where documents come from. One module a source, each with two functions:

    configured(settings) -> bool                                    whether there is anything to ask
    collect(settings, client, tokens, previous) -> documents        ask; `previous` are its last good documents

`collect` raises Unavailable (nobody answers), Refused (the answer is no) or MetadataError (the answer is unusable); the
engine then keeps the last good documents. A source that answers "nothing new" gives `previous` back.
"""

from __future__ import annotations

from types import ModuleType

from agent.collectors import cfn, heat, heat_local, local, request

COLLECTORS: dict[str, ModuleType] = {
    "heat_local": heat_local,
    "cfn": cfn,
    "heat": heat,
    "request": request,
    "local": local,
}
