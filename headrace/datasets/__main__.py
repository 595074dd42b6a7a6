"""`python -m headrace.datasets JOB.json`: an import as a process of its own, for a service that follows it.

If it is stopped or killed, the same file goes on with it. See `headrace.jobs.child`.
"""

import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from headrace.datasets.importing.job import ImportJob
from headrace.datasets.importing.run import run_import
from headrace.datasets.importing.telling import SHOWN
from headrace.datasets.opening import open_access
from headrace.jobs.child import Answers, run_child
from headrace.model.source import BadRow
from headrace.runtime.settings import ServiceSettings, load

_EVERY_S = 0.2


class _Lines:
    """Tells of progress; see `headrace.datasets.importing.telling.Observer`."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._phase, self._total, self._done, self._bad = "", 0, 0, 0
        self._shown: list[dict[str, str]] = []
        self._told = 0.0

    def phase(self, name: str, total: int) -> None:
        """See `Observer.phase`."""
        self._phase, self._total, self._done = name, total, 0
        self._tell()

    def rows(self, count: int) -> None:
        """See `Observer.rows`."""
        self._done += count
        if time.monotonic() - self._told > _EVERY_S:
            self._tell()

    def bad(self, row: BadRow, count: int) -> None:
        """See `Observer.bad`."""
        self._bad = count
        if count <= SHOWN:
            self._shown.append({"place": row.place, "field": row.field, "problem": row.problem})
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        self._answers.say(
            phase=self._phase, total=self._total, done=self._done, bad=self._bad, bad_rows=list(self._shown)
        )

    def last(self) -> None:
        """Tell of all bad rows."""
        self._tell()


def main(job_file: str) -> int:
    """Do the import in the file; returns the exit code."""

    def work(answers: Answers, stop: threading.Event) -> dict[str, Any]:
        job = msgspec.json.decode(Path(job_file).read_bytes(), type=ImportJob)
        access = open_access(load(ServiceSettings, "headrace"))
        lines = _Lines(answers)
        try:
            summary = run_import(job, access, lines, stop)
        finally:
            lines.last()
        empty(job)
        return summary.shown()

    return run_child(work)


def empty(job: ImportJob) -> None:
    """Remove what an import has needed on the way; the list of its bad rows stays."""
    for path in job.path.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
