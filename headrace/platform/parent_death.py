"""Processes that die with their parent. As a script, `python -I -S parent_death.py PARENT_PID COMMAND...`, few imports.

Linux sends a process SIGKILL when the thread that is its parent ends, once it has asked for that (PR_SET_PDEATHSIG);
exec keeps that. The script asks between fork and exec, since Popen's preexec_fn is not safe in a process with threads.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(parent: int) -> bool:
    """Let the kernel kill this process when its parent ends. False if process `parent` is not its parent (any more)."""
    if sys.platform != "linux":
        return True
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    return os.getppid() == parent  # it may have died before the prctl: then nobody is left to tell us


def become_parent_of_orphans() -> None:
    """Make this process, instead of init, the parent of descendants whose own parent ends. Linux only."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def main() -> None:
    """Tie this process's life to the parent's, then become the command."""
    parent, command = int(sys.argv[1]), sys.argv[2:]
    if not die_with_parent(parent):
        os._exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 - our own command
    except OSError as error:
        print(f"cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        os._exit(127)


if __name__ == "__main__":
    main()
