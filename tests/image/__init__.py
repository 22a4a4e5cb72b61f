"""The agent on machines as people get them: an image that cloud-init tells who it is, a package, a container.

`python -m tests.image install` makes what these tests need.
"""
