"""`python leisure.py run_cases.py ...`: run the cases at the pace of a machine with much else to do.

The recorded runners bound what they wait for by a few seconds of a quiet machine. For this process the clock by which
they do so goes five times slower; the programs that it starts live by the real one.
"""

import runpy
import sys
import time

SLOWER = 5
real_monotonic = time.monotonic


def monotonic():
    return real_monotonic() / SLOWER


time.monotonic = monotonic
del sys.argv[0]
sys.path[0] = ""
runpy.run_path(sys.argv[0], run_name="__main__")
