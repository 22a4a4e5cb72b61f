"""What runs under the lab's own Python, each module as `python -m tests.lab.inside.NAME DIRECTORY`."""

import sys
from pathlib import Path

from tests.lab import model
from tests.lab.model import Lab


def this_lab() -> Lab:
    """The lab named on the command line; the services parse sys.argv again, so nothing of it is left."""
    lab = model.load(Path(sys.argv.pop(1)))
    if lab is None:
        sys.exit("no lab in this directory")
    return lab
