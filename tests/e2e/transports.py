"""The ways in which Heat and a guest talk."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Transports:
    """How the guest polls, and how it answers."""

    poll: str
    signal: str

    @property
    def parameters(self) -> dict[str, str]:
        return {"poll_transport": self.poll, "signal_transport": self.signal}

    def __str__(self) -> str:
        return f"{self.poll}-{self.signal}".lower()


HEAT = Transports("POLL_SERVER_HEAT", "HEAT_SIGNAL")
CFN = Transports("POLL_SERVER_CFN", "CFN_SIGNAL")
CROSSED = (Transports("POLL_SERVER_HEAT", "CFN_SIGNAL"), Transports("POLL_SERVER_CFN", "HEAT_SIGNAL"))
TEMP_URL = Transports("POLL_SERVER_HEAT", "TEMP_URL_SIGNAL")

ZAQAR = Transports("ZAQAR_MESSAGE", "ZAQAR_SIGNAL")
BY_URL = Transports("POLL_TEMP_URL", "TEMP_URL_SIGNAL")
EACH_POLL = (HEAT, CFN, Transports("POLL_TEMP_URL", "HEAT_SIGNAL"), ZAQAR)
"""Not TEMP_URL_SIGNAL: Heat itself completes an update with the old outcome when it begins within a second after that.

It takes the object for newer than the update, since Swift rounds Last-Modified up
(heat/engine/service_software_config.py, _refresh_swift_software_deployment).
"""
