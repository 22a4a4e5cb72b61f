"""The guest and the endpoint of the process tests, for what is kept on a guest's disk."""

from tests.process.conftest import endpoint, guest

__all__ = ["endpoint", "guest"]
