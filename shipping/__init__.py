"""How the agent gets onto a machine: a wheelhouse, and from it an image, a Debian package or a container.

    .ci/python -m shipping {wheels,image,deb,container} [--help]

Everything that is fetched or built is kept in the user's cache directory, under a name that changes with its content;
a second build needs no network.
"""
