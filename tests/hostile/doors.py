"""All of them, by name."""

from tests.hostile import archives, disk, local, wire

DOORS = {door.name: door for door in (*wire.DOORS, *local.DOORS, *archives.DOORS, *disk.DOORS)}
