"""`python -m tests.lab.tether PARENT COMMAND…`: become COMMAND, and die when PARENT does.

The kernel keeps the promise (PR_SET_PDEATHSIG), so it holds even when pytest is killed outright. The
setting survives the exec and belongs to the thread that forked: start tethered commands from the main one.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: int, argv: list[str]) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:  # it died before the line above
        sys.exit(1)
    os.execvp(argv[0], argv)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
