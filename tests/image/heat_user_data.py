"""Heat's own user data. Runs with the lab's Python: {metadata, user_data, format, cfn_url} on stdin, the text out."""

import json
import sys
from types import SimpleNamespace

from heat.engine.clients.os.nova import NovaClientPlugin


class Plugin(NovaClientPlugin):
    """The plugin without a cloud behind it: all that it asks for here is where the CloudFormation API is."""

    def __init__(self, cfn_url: str) -> None:
        heat = SimpleNamespace(get_cfn_metadata_server_url=lambda: cfn_url)
        self._context = SimpleNamespace(clients=SimpleNamespace(client_plugin=lambda _name: heat))

    @property
    def context(self) -> SimpleNamespace:
        return self._context


given = json.load(sys.stdin)
print(
    Plugin(given["cfn_url"]).build_userdata(given["metadata"], given["user_data"], user_data_format=given["format"]),
    end="",
)
