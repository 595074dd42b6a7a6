"""Run a command that dies with its parent: `python -I -S _launch.py PARENT_PID COMMAND...`, with few imports.

Linux sends this process SIGKILL when the thread that made it ends (PR_SET_PDEATHSIG); exec keeps that. It is done here,
between fork and exec, since Popen's preexec_fn is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    """Tie this process's life to the parent's, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the prctl: nobody is left to tell us
            os._exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - our own command
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)


main()
