"""`python -m headrace.batch JOB.json`: a job as a process of its own, for a service that follows it.

If it is stopped or killed, the same file goes on where it was. See `headrace.jobs.child`.
"""

import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from headrace.batch.job import Job, Version
from headrace.batch.run import as_dict, run_batch
from headrace.jobs.child import Answers, run_child
from headrace.runtime.settings import ServiceSettings, load

_EVERY_S = 0.2


class _Lines:
    """Tells of progress."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._total = self._done = self._bad = 0
        self._version: Version | None = None
        self._told = 0.0

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
        self._answers.say(total=self._total, done=self._done, bad=self._bad, version=version, checkpoint=checkpoint)


def main(job_file: str) -> int:
    """Do the job in the file; returns the exit code."""

    def work(answers: Answers, stop: threading.Event) -> dict[str, Any]:
        job = msgspec.json.decode(Path(job_file).read_bytes(), type=Job)
        summary = run_batch(job, load(ServiceSettings, "headrace"), _Lines(answers), stop)
        return {name: value for name, value in as_dict(summary).items() if name != "inputs"}

    return run_child(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
