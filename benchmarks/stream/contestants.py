"""The contestants: what they are called, what they promise, and each as a process."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.stream.terms import Terms

LOGS = Path("build/bench")
_PATIENCE_S = 15.0


@dataclass(frozen=True)
class Contestant:
    """One way to predict on a stream. `name` is its key in the JSON file."""

    name: str
    title: str
    module: str
    guarantee: str = "exactly once"
    share: float = 1.0
    """Of the backlog: slow ones get less of it."""

    def python(self) -> str:
        """The interpreter that has what it needs."""
        return sys.executable


BARE = Contestant("bare_loop", "bare loop, same transactions", "benchmarks.stream.bare")
OURS = Contestant("ours", "Headrace stream", "benchmarks.stream.ours")
CONTESTANTS = {c.name: c for c in (BARE, OURS)}


@contextmanager
def running(who: Contestant, terms: Terms, processes: int = 1) -> Iterator[Sequence[psutil.Process]]:
    """`who` as so many processes of one group; killed at the end. Their logs are in build/bench."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{who.name}-")))
        line = [who.python(), "-m", who.module, *replace(terms, folder=folder).flags()]
        started: list[psutil.Popen] = []
        for n in range(processes):
            log = stack.enter_context((LOGS / f"stream-{who.name}-{n}.log").open("wb"))
            started.append(psutil.Popen(line, stdout=log, stderr=subprocess.STDOUT))
        try:
            yield started
        finally:
            for process in started:
                process.kill()
                process.wait(_PATIENCE_S)
