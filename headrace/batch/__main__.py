"""`python -m headrace.batch JOB.json`: a job as a process of its own, for a service that follows it.

Progress, the summary and errors are JSON lines on standard output. It stops on SIGTERM, and dies when its standard
input closes, as it does when the service that started it dies; either way the same file goes on where it was.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from headrace.batch.job import Job, Stopped, Version
from headrace.batch.run import as_dict, run_batch
from headrace.runtime import logging
from headrace.runtime.errors import ExitCode, HeadraceError
from headrace.runtime.settings import ServiceSettings, load

STOPPED = 130
_EVERY_S = 0.2


class _Lines:
    """Tells of progress on standard output."""

    def __init__(self) -> None:
        self._answers = os.dup(1)
        os.dup2(2, 1)  # what a model prints is no answer
        self._total = self._done = self._bad = 0
        self._version: Version | None = None
        self._told = 0.0

    def say(self, **what: Any) -> None:
        os.write(self._answers, msgspec.json.encode(what) + b"\n")

    def begun(self, version: Version, total: int, done: int) -> None:
        """See `Observer.begun`."""
        self._total, self._done, self._version = total, done, version
        self._tell()

    def rows(self, read: int, bad: int) -> None:
        """See `Observer.rows`."""
        self._done, self._bad = self._done + read, self._bad + bad
        if time.monotonic() - self._told > _EVERY_S:
            self._tell()

    def assembling(self) -> None:
        """See `Observer.assembling`."""
        self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        version, checkpoint = (self._version.version, self._version.checkpoint) if self._version else (0, "")
        self.say(total=self._total, done=self._done, bad=self._bad, version=version, checkpoint=checkpoint)


def main(job_file: str) -> int:
    """Do the job in the file; returns the exit code."""
    lines, stop = _Lines(), threading.Event()
    logging.configure("warning")
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        job = msgspec.json.decode(Path(job_file).read_bytes(), type=Job)
        summary = run_batch(job, load(ServiceSettings, "headrace"), lines, stop)
    except Stopped:
        return STOPPED
    except HeadraceError as error:
        lines.say(error=str(error))
        return int(error.exit_code)
    lines.say(summary={name: value for name, value in as_dict(summary).items() if name != "inputs"})
    return int(ExitCode.OK)


def _die_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(int(ExitCode.INTERNAL))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
