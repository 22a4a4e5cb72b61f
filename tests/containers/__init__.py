"""The hooks docker-cmd, docker-compose and kubelet with a real engine: podman, also as the engine behind docker.

Everything an engine keeps is below a scratch directory and ends with the tests. `python -m tests.containers install`
installs what they need.
"""
