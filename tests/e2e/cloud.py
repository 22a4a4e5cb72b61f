"""The owner's side of the cloud: stacks over plain HTTP, every wait with a bound."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import requests

from tests.lab.model import DEMO, Lab
from tests.waiting import until

TEMPLATES = Path(__file__).parent / "templates"
POLL_S = 0.25
REQUEST_S = 60.0

Value = TypeVar("Value")
Facts = Mapping[str, Any]  # one of Heat's JSON objects, as it came


@dataclass(frozen=True)
class Stack:
    """A stack, by the name and the id that Heat knows it by."""

    name: str
    id: str

    @property
    def path(self) -> str:
        return f"/stacks/{self.name}/{self.id}"


@dataclass(frozen=True)
class Status:
    """Where a stack or one of its resources stands, e.g. CREATE_FAILED, and why."""

    word: str
    reason: str


class Heat:
    """Heat as the owner of the stacks sees it; holds the session and its token."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.session = requests.Session()
        self.session.trust_env = False  # loopback needs no proxy
        self.endpoint = self._sign_in()

    def _sign_in(self) -> str:
        """Put a token into the session; the address of the owner's project in Heat."""
        domain = {"name": "Default"}
        user = {"name": DEMO.user, "password": DEMO.password, "domain": domain}
        body = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": DEMO.project, "domain": domain}},
            }
        }
        answer = self.session.post(f"{self.lab.auth_url}/auth/tokens", json=body, timeout=REQUEST_S)
        answer.raise_for_status()
        self.session.headers["X-Auth-Token"] = answer.headers["X-Subject-Token"]
        return f"{self.lab.url('heat')}/v1/{answer.json()['token']['project']['id']}"

    def call(self, verb: str, path: str, body: Facts | None = None) -> Any:
        """One request; the answer's JSON, None when it has none. Anything but success raises with Heat's words."""
        answer = self.session.request(verb, self.endpoint + path, json=body, timeout=REQUEST_S)
        if not answer.ok:
            raise requests.HTTPError(f"{verb} {path}: {answer.status_code} {answer.text}", response=answer)
        # An update is answered by 202 and a page of HTML.
        return answer.json() if "json" in answer.headers.get("Content-Type", "") else None

    # ---- changing stacks

    def create(
        self, name: str, template: str, parameters: Facts, *, timeout_min: int = 10, disable_rollback: bool = True
    ) -> Stack:
        limits = {"timeout_mins": timeout_min, "disable_rollback": disable_rollback}
        body = {**declared(template, parameters), "stack_name": name, **limits}
        return Stack(name, self.call("POST", "/stacks", body)["stack"]["id"])

    def update(self, stack: Stack, template: str, parameters: Facts) -> None:
        """Give the stack this template and these parameters, whatever it had."""
        self.call("PUT", stack.path, declared(template, parameters))

    def delete(self, stack: Stack) -> None:
        """Ask for the deletion; a stack that is gone is no fault. A 5xx is asked again: that does no harm."""

        def taken() -> bool:
            try:
                self.call("DELETE", stack.path)
            except requests.HTTPError as exc:
                status = exc.response.status_code if exc.response is not None else 0
                if status == 404:
                    return True
                if status < 500:
                    raise
                print(exc, file=sys.stderr)
                return False
            return True

        eventually(taken, f"the deletion of {stack.name} to be taken")

    # ---- looking at stacks

    def status(self, stack: Stack) -> Status:
        facts = self.call("GET", stack.path)["stack"]
        return Status(facts["stack_status"], facts["stack_status_reason"])

    def outputs(self, stack: Stack) -> dict[str, Any]:
        listed = self.call("GET", stack.path)["stack"]["outputs"]
        return {output["output_key"]: output["output_value"] for output in listed}

    def events(self, stack: Stack) -> list[str]:
        """What happened, oldest first, as "resource STATUS reason"."""
        listed = self.call("GET", f"{stack.path}/events?sort_dir=asc")["events"]
        return [
            f"{event['resource_name']} {event['resource_status']} {event['resource_status_reason']}" for event in listed
        ]

    def resource(self, stack: Stack, name: str) -> Facts:
        facts: Facts = self.call("GET", f"{stack.path}/resources/{name}")["resource"]
        return facts

    def attribute(self, stack: Stack, name: str, attribute: str) -> Any:
        path = f"{stack.path}/resources/{name}?with_attr={attribute}"
        return self.call("GET", path)["resource"]["attributes"][attribute]

    def deployment(self, stack: Stack, name: str) -> Facts:
        """The deployment object behind a resource: status, status_reason, output_values …"""
        identity = self.resource(stack, name)["physical_resource_id"]
        facts: Facts = self.call("GET", f"/software_deployments/{identity}")["software_deployment"]
        return facts

    def offered(self, stack: Stack, server: str = "server") -> dict[str, Facts]:
        """The deployments in the server's metadata, by name, as the guest would see them."""
        metadata = self.call("GET", f"{stack.path}/resources/{server}/metadata")["metadata"]
        return {deployment["name"]: deployment for deployment in metadata.get("deployments", [])}

    # ---- waiting

    def wait(self, stack: Stack, word: str) -> Status:
        """Return when the stack's status is `word`; fail at once when its action ends otherwise."""
        action = word.split("_", maxsplit=1)[0]

        def arrived() -> Status | None:
            status = self.status(stack)
            if status.word == word:
                return status
            assert status.word not in {f"{action}_COMPLETE", f"{action}_FAILED"}, (
                f"{stack.name} should be {word}, is {status}"
            )
            return None

        return eventually(arrived, f"{stack.name} to be {word}")

    def wait_gone(self, stack: Stack) -> None:
        def gone() -> bool:
            try:
                status = self.status(stack)
            except requests.HTTPError as exc:
                if exc.response is not None and exc.response.status_code == 404:
                    return True
                raise
            assert status.word != "DELETE_FAILED", status
            return status.word == "DELETE_COMPLETE"

        eventually(gone, f"{stack.name} to be gone")

    def wait_offered(self, stack: Stack, name: str, *, but: str = "") -> str:
        """The id of the named deployment as soon as the guest can see it, and see another one than `but`."""

        def found() -> str | None:
            deployment = self.offered(stack).get(name)
            return deployment["id"] if deployment and deployment["id"] != but else None

        return eventually(found, f"deployment {name} of {stack.name} to be offered")

    def bootstrap(self, stack: Stack, server: str = "server") -> dict[str, Any]:
        """What cloud-init would find for the agent, as soon as the server is there."""

        def found() -> dict[str, Any] | None:
            section: dict[str, Any] | None = self.attribute(stack, server, "os_collect_config")
            return section

        return eventually(found, f"the bootstrap of {server} in {stack.name}")


def declared(template: str, parameters: Facts) -> Facts:
    """A template of ours and its parameters, as a request for a stack holds them."""
    return {"template": (TEMPLATES / template).read_text(), "parameters": dict(parameters)}


def eventually(look: Callable[[], Value | None], what: str) -> Value:
    """The first answer of `look` that is true, asking no oftener than a busy Heat can bear."""
    found = until(look, what, look_s=POLL_S)
    assert found is not None
    return found


def signal(address: str, verb: str, body: Facts) -> requests.Response:
    """Send a signal as a guest without an agent would."""
    with requests.Session() as session:
        session.trust_env = False
        headers = {"Content-Type": "application/json"}
        answer = session.request(verb, address, data=json.dumps(body), headers=headers, timeout=REQUEST_S)
    answer.raise_for_status()
    return answer
