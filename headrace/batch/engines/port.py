"""What runs a job's parts."""

import threading
from collections.abc import Callable, Generator, Sequence
from typing import Protocol

from headrace.batch.engines.runner import OnRows
from headrace.batch.job import PartResult
from headrace.jobs.child import Stopped

Finished = Callable[[PartResult], None]


class Engine(Protocol):
    """Runs parts."""

    def run(self, parts: Sequence[int], on_rows: OnRows, stop: threading.Event) -> Generator[PartResult, None, None]:
        """Run the parts, in any order, and yield each when it is on disk.

        Raises:
            Stopped: `stop` was set.
            HeadraceError: a part cannot be done.
        """
        ...


def raise_if(stop: threading.Event) -> None:
    """Raise `Stopped` if it is set."""
    if stop.is_set():
        raise Stopped("stopped", hint="the same command goes on where it was")
