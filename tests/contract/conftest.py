"""Peers on loopback, and the client that talks to them."""

from tests.peers import client, peer

__all__ = ["client", "peer"]
