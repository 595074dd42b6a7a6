"""The role `archive` in a process that kills itself: `python dying_archive.py STEP TIMES FLAGS...`.

It sends itself SIGKILL when it has done the durable step STEP for the TIMES-th time; `never` is no step.
"""

import os
import signal
import sys
from functools import partial

from headrace.runtime.lifecycle import run_role
from services.archive.app import build
from services.archive.settings import ArchiveSettings


def main(name: str, times: str, *flags: str) -> int:
    left = [int(times)]

    def step(done: str) -> None:
        left[0] -= done == name
        if left[0] <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    return run_role("archive", ArchiveSettings, partial(build, step=step), list(flags))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
