"""`cfn-signal`: tells a wait condition how it went, until the endpoint has taken it or will not."""

from __future__ import annotations

import argparse
import base64
import binascii
import json
import socket
from pathlib import Path

from agent import answers, jsontext, state, transport, urls
from agent.apply import cfn_metadata
from agent.cli.cfn_log import Log
from agent.errors import AgentError, MetadataError, Refused, SettingsError, StateError, Unavailable
from agent.model import JsonMap
from agent.transport import Client, Limits

PATIENCE_S = 45.0
LIMITS = Limits(connect_s=5.0, read_s=15.0, total_s=20.0)
META_DATA = "http://169.254.169.254/openstack/2012-08-10/meta_data.json"
META_LIMITS = Limits(connect_s=2.0, read_s=3.0, total_s=5.0)
LOWER = {"Status": "status", "Reason": "reason", "UniqueId": "id", "Data": "data"}

# What curl ends with, which is what heat-cfntools handed on.
REFUSED, MALFORMED, UNKNOWN_HOST, NOT_CONNECTED = 1, 3, 6, 7


def main(argv: list[str], log: Log) -> int:
    arguments = _parser().parse_args(argv)
    log.tell_all(arguments.verbose)
    if not arguments.url and (arguments.stack or arguments.resource):
        raise SettingsError("Heat has no SignalResource for --stack and --resource; give the URL of a wait condition")
    if not arguments.url:
        _parser().error("the URL of a wait condition handle is wanted")
    url = plain(arguments.url)
    if urls.split(url).scheme not in ("http", "https") or not urls.split(url).hostname:
        log.fail("signalling: not an http or https URL; give what the wait condition handle's Ref says")
        return MALFORMED if any(char.isspace() for char in url) or "://" in url else UNKNOWN_HOST
    body = message(arguments, arguments.id or unique_id(log))
    chosen: str = arguments.https_proxy or arguments.http_proxy or ""
    client = Client(LIMITS, insecure=arguments.insecure, proxy=chosen)
    try:
        send(client, url, body)
    except Unavailable as exc:
        log.fail(f"{exc}; nobody was signalled")
        return REFUSED if exc.sent else NOT_CONNECTED if _resolves(url) else UNKNOWN_HOST
    except AgentError as exc:
        log.fail(f"{exc}; nobody was signalled")
        return REFUSED
    log.tell(f"{transport.show(url)} took {body['Status']}")
    return 0


def plain(url: str) -> str:
    """The URL, which AWS's tool takes in base64 too."""
    if "://" in url:
        return url
    try:
        decoded = base64.b64decode(url, validate=True).decode()
    except (binascii.Error, ValueError):
        return url
    return decoded if decoded.startswith(("http://", "https://")) else url


def message(arguments: argparse.Namespace, unique: str) -> JsonMap:
    """Exactly the four keys that a wait condition handle takes; an exit code beats --success."""
    code = arguments.exit_code or arguments.exit
    succeeded = arguments.success == "true" if not code else code.strip() == "0"
    return {
        "Status": "SUCCESS" if succeeded else "FAILURE",
        "Reason": arguments.reason,
        "UniqueId": unique,
        "Data": arguments.data,
    }


def send(client: Client, url: str, body: JsonMap) -> None:
    """Send, again while nobody answers: a repeat names the same UniqueId and changes nothing.

    A handle of the OS:: kind takes other keys, which only its refusal tells; a signal URL belongs to a deployment or
    a handle, takes POST, and reads deploy_status_code.
    """
    signals = urls.split(url).path.startswith("/v1/signal/")
    status = {"deploy_status_code": 0 if body["Status"] == "SUCCESS" else 1}
    lower: JsonMap = {LOWER[key]: value for key, value in body.items()}
    spellings: list[JsonMap] = [*([{**body, **status}] if signals else []), body, lower]

    def attempt() -> None:
        while True:
            try:
                client.request("POST" if signals else "PUT", url, body=json.dumps(spellings[0]).encode())
                return
            except (Refused, Unavailable) as exc:
                if "format invalid" not in str(exc) or len(spellings) == 1:
                    raise
                spellings.pop(0)

    answers.persist(attempt, deadline_s=PATIENCE_S)


def unique_id(log: Log) -> str:
    """The instance's uuid, asked once and kept; the host's name where nobody tells it."""
    kept = cfn_metadata.DATA / "nova_meta.json"
    try:
        return str(jsontext.decode_map(kept.read_bytes(), str(kept))["uuid"])
    except (OSError, KeyError, MetadataError):
        pass
    try:
        body = Client(META_LIMITS).request("GET", META_DATA).body
        uuid = str(jsontext.decode_map(body, META_DATA)["uuid"])
    except (AgentError, KeyError) as exc:
        log.tell(f"no uuid from {META_DATA} ({exc}), the host's name is used")
        return socket.getfqdn()
    _keep(kept, body, log)
    return uuid


def _keep(path: Path, body: bytes, log: Log) -> None:
    if not path.parent.is_dir():
        return
    try:
        state.write(path, body)
    except StateError as exc:
        log.tell(f"the uuid is not kept: {exc}")


def _resolves(url: str) -> bool:
    try:
        socket.getaddrinfo(urls.split(url).hostname, None)
    except (OSError, UnicodeError):
        return False
    return True


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cfn-signal", description="Signals a wait condition.")
    flag = parser.add_argument
    flag("-s", "--success", default="true", help="true, anything else is a failure (default: %(default)s)")
    flag("-r", "--reason", default="Configuration Complete", help="why (default: %(default)s)")
    flag("-d", "--data", default="Application has completed configuration.", help="what the handle keeps")
    flag("-i", "--id", help="unique id (default: the instance's uuid, else the host's name)")
    flag("-e", "--exit-code", help="status of a program: 0 is success, whatever --success says")
    flag("--exit", help="the old spelling of --exit-code")
    flag("-k", "--insecure", action="store_true", help="do not look at the server's certificate")
    flag("--stack", help="not with Heat, which has no SignalResource")
    flag("--resource", help="as --stack")
    for name in ("--url", "--region", "--role", "--access-key", "--secret-key", "-f", "--credential-file"):
        flag(name, dest=f"unused {name}", metavar="VALUE", help="taken and not needed here")
    flag("--http-proxy", help="proxy for http")
    flag("--https-proxy", help="proxy for https")
    flag("-v", "--verbose", action="store_true", help="tell every step")
    flag("url", nargs="?", metavar="URL", help="the wait condition handle, as its Ref says, or that in base64")
    return parser
