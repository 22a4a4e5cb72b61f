"""A queue that behaves as Zaqar's do, over the sign-in and the messages that a real one once sent."""

import json
from typing import Any
from urllib.parse import parse_qs

from tests.conftest import CHECKOUT
from tests.fakes import Peer, Raw, Reply, Request

RECORDED = json.loads((CHECKOUT / "tests/fixtures/heat/queue.json").read_text("utf-8"))
SIGN_IN = next(e for e in RECORDED["exchanges"] if e["note"] == "sign in")
NAME = RECORDED["bootstrap"]["zaqar"]["queue_id"]
JSON = {"Content-Type": "application/json"}


def messages() -> list[dict[str, Any]]:
    """What Heat posted, oldest first."""
    polls = (json.loads(e["response"]["body"]) for e in RECORDED["exchanges"] if e["note"] == "poll")
    return [message for answer in polls for message in answer["messages"]]


class Queue(Peer):
    """`held` are the messages; `refused` maps a verb to the status that it is answered with.

    With `push_url` the catalogue names a websocket service; `expires_at` is when tokens end, as recorded when empty.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: list[dict[str, Any]] = []
        self.refused: dict[str, int] = {}
        self.push_url = ""
        self.expires_at = ""

    def answer(self, request: Request) -> Reply | Raw:
        self.requests.append(request)
        if request.path == "/v3/auth/tokens":
            said = SIGN_IN["response"]
            return Reply(said["status"], self._catalogue(self.moved(said["body"])).encode(), said["headers"])
        if request.path != f"/v2/queues/{NAME}/messages":
            return Reply(404)
        if request.method in self.refused:
            return Reply(self.refused[request.method], b"no")
        query = {name: values[0] for name, values in parse_qs(request.query).items()}
        if request.method == "GET":
            return self._list(query)
        if "pop" in query:
            taken = self.held[: int(query["pop"])]
            del self.held[: len(taken)]
            return Reply(200, json.dumps({"messages": taken}).encode(), JSON)
        self.held = [message for message in self.held if message["id"] not in query["ids"].split(",")]
        return Reply(204)

    def _catalogue(self, body: str) -> str:
        """The recorded one, with the websocket service where there is one."""
        content = json.loads(body)
        content["token"]["expires_at"] = self.expires_at or content["token"]["expires_at"]
        if self.push_url:
            endpoint = {"interface": "public", "region_id": "RegionOne", "url": self.push_url}
            content["token"]["catalog"].append({"type": "messaging-websocket", "endpoints": [endpoint]})
        return json.dumps(content)

    def _list(self, query: dict[str, str]) -> Reply:
        start, limit = int(query.get("marker", 0)), int(query["limit"])
        page = self.held[start : start + limit]
        following = f"/v2/queues/{NAME}/messages?limit={limit}&marker={start + len(page)}&echo=true"
        body = {"messages": page, "links": [{"rel": "next", "href": following}]}
        return Reply(200, json.dumps(body).encode(), JSON)

    def moved(self, text: str) -> str:
        """A recorded text with the lab's services here."""
        for port in (35000, 35001, 35004, 35080, 35088):
            text = text.replace(f"http://127.0.0.1:{port}", self.url)
        return text

    def section(self) -> Any:
        """The `os-collect-config` section that cloud-init brought."""
        return json.loads(self.moved(json.dumps(RECORDED["bootstrap"])))

    @property
    def asked(self) -> list[str]:
        """Verb and query of each request; a sign-in is its verb alone."""
        return [f"{r.method} {r.query}".strip() for r in self.requests]
