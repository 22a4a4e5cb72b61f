"""Everything known of one deployment, secrets masked: for people, and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent import masking, model
from agent.model import Json, JsonMap
from agent.view.guest import Guest, Known
from agent.view.page import moment, plain, span, wrapped
from agent.view.status import judge

LABEL = 12
AFTER_FAILURE = "mend the cause and update the stack; agent rerun repeats it here, but Heat has judged already"
LAST_LINES = 10
PAIR = 2
NOBODY = "nobody waits for a signal"
NOT_KEPT = "(a secret that this guest keeps no more, or keeps sealed)"
VALUE = 200  # characters of an input or option on the page; the JSON has all of it


def facts(known: Known, guest: Guest, now: float) -> JsonMap:
    """What the disk says of it. Times are seconds of the epoch, 0 for never."""
    deployment, entry, places = known.deployment, known.entry, guest.places
    [line] = [line for line in judge(guest, now).lines if line.known is known]
    found: JsonMap = {
        "id": deployment.id or entry.key,
        "name": deployment.name,
        "group": deployment.group,
        "action": deployment.action,
        "state": line.state,
        "failed": line.failed,
        "detail": line.detail,
        "next_step": line.next_step,
        "source": entry.source or deployment.source,
        "listed": known.listed,
        "fault": deployment.fault,
        "created": deployment.creation_time,
        "received_at": entry.received_at,
        "began_at": known.began_at,
        "ended_at": known.ended_at,
        "settled_at": known.settled_at,
        "attempt": entry.attempt,
        "reboots": entry.reboots,
        "pid": known.pid,
        "endpoint": _endpoint(known),
        "tries": entry.tries,
        "next_try_at": entry.next_try_at,
        "reason": entry.reason,
        "options": dict(deployment.options),
        "inputs": [{"name": i.name, "type": i.type, "value": i.value} for i in deployment.inputs.values()],
        "not_kept": [*deployment.missing],
        "outputs": [{"name": o.name, "type": o.type, "error_output": o.error_output} for o in deployment.outputs],
        "config": deployment.config,
        "outcome": known.outcome,
        "files": {
            "log": str(known.log),
            "mark": str(places.mark(entry.key)),
            "outcome": str(places.outcome(entry.key)),
            "journal": str(places.journal / f"{entry.key}.json"),
        },
    }
    masked = masking.value(found)
    assert isinstance(masked, dict)  # a map stays a map
    return masked


def _endpoint(known: Known) -> JsonMap:
    endpoint = known.deployment.endpoint
    credentials = endpoint.credentials
    return {
        "transport": endpoint.transport or NOBODY,
        "url": endpoint.url,
        "verb": endpoint.verb if endpoint.url else "",
        "stack": endpoint.stack_id,
        "resource": endpoint.resource_name,
        "auth_url": credentials.auth_url if credentials else "",
        "user": credentials.user_id if credentials else "",
        "queue": endpoint.queue_id,
    }


def text(facts: JsonMap, known: Known) -> Iterator[str]:
    """The page. Streams are shown by their last lines; the live log has all of them."""
    state = f"{facts['state']} ({facts['detail']})" if facts["detail"] else str(facts["state"])
    yield f"{plain(str(facts['name']))}  {facts['id']}"
    yield from _row("state", state)
    yield from _row("next step", str(facts["next_step"]) if facts["state"] != "failed" else AFTER_FAILURE)
    yield from _row("fault", str(facts["fault"]))
    yield from _row("group", f"{facts['group']}, action {facts['action'] or 'none'}")
    yield from _row("source", f"{facts['source'] or 'none'}{'' if facts['listed'] else ', which lists it no more'}")
    yield from _times(known, str(facts["created"]))
    yield from _pairs("endpoint", facts["endpoint"])
    if not _told(known):
        yield from _row("sending", f"to nobody, {NOBODY}")
    elif known.entry.tries or known.entry.reason:
        again = f", next at {moment(known.entry.next_try_at)}" if facts["state"] == "unsignalled" else ""
        yield from _row("sending", f"{known.entry.tries} failed tries{again}; {facts['reason']}")
    yield from _pairs("options", facts["options"])
    inputs = facts["inputs"]
    elements = [element for element in inputs if isinstance(element, dict)] if isinstance(inputs, list) else []
    own = {str(e["name"]): e["value"] for e in elements if not str(e["name"]).startswith("deploy_")}
    yield from _pairs("inputs", own | {name: NOT_KEPT for name in own if name in known.deployment.missing})
    yield from _outcome(facts["outcome"])
    yield from _pairs("files", facts["files"])


def _row(label: str, value: str) -> Iterator[str]:
    if value and len(value.split()) <= PAIR:  # a path or a URL behind its name stays on its line
        yield f"  {label:{LABEL}}{plain(value)}"
    elif value:
        yield from wrapped(value, " " * (LABEL + 2), f"  {label:{LABEL}}")


def _pairs(label: str, pairs: Json) -> Iterator[str]:
    for name, value in pairs.items() if isinstance(pairs, dict) else ():
        if value not in ("", None):
            shown = str(value) if isinstance(value, str) else repr(value)
            yield from _row(label, f"{name}: {shown[:VALUE]}{'…' if len(shown) > VALUE else ''}")
            label = ""


def _told(known: Known) -> bool:
    """Whether its outcome was sent to somebody, or is still to be."""
    return known.deployment.endpoint.wanted or known.entry.progress != model.SIGNALLED


def _times(known: Known, created: str) -> Iterator[str]:
    entry = known.entry
    waited, took = known.began_at - entry.received_at, known.ended_at - known.began_at
    steps = [
        ("created", created, ""),
        ("received", moment(entry.received_at), ""),
        ("began", moment(known.began_at), f"after {span(waited)}" if known.began_at and entry.received_at else ""),
        ("ended", moment(known.ended_at), f"took {span(took)}" if known.ended_at else ""),
        (entry.progress if _told(known) else "settled", moment(known.settled_at), ""),
    ]
    for label, at, note in steps:
        yield from _row(label, f"{at}  {note}" if at not in ("", "-") else "")
    if entry.attempt > 1 or entry.reboots:
        yield from _row("attempts", f"{entry.attempt}, with {entry.reboots} reboots")


def _outcome(outcome: Json) -> Iterator[str]:
    if not isinstance(outcome, dict) or not outcome:
        return
    yield from _row("status", str(outcome.get("deploy_status_code")))
    yield from _pairs("outputs", {name: v for name, v in outcome.items() if not name.startswith("deploy_")})
    for stream in ("stdout", "stderr"):
        yield from _last_lines(stream, str(outcome.get(f"deploy_{stream}") or "").splitlines())


def _last_lines(label: str, lines: list[str]) -> Iterable[str]:
    if len(lines) > LAST_LINES:
        yield f"  {label:{LABEL}}[… {len(lines) - LAST_LINES} lines before]"
        label = ""
    for line in lines[-LAST_LINES:]:
        yield f"  {label:{LABEL}}{plain(line)}"
        label = ""
