"""The contestants: what they are called, what they promise, and each as a process."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil

from benchmarks.stream.terms import Terms

LOGS = Path("build/bench")
ENVIRONMENTS = Path("build/peers")
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
"""For everybody's arithmetic: products this small gain nothing from threads that would take the broker's core."""
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
    peer: str = ""
    """Its environment, where it needs one of its own."""
    flags: tuple[str, ...] = ()

    @property
    def python(self) -> Path:
        """The interpreter that has what it needs."""
        return ENVIRONMENTS / self.peer / "bin" / "python" if self.peer else Path(sys.executable)

    @property
    def installed(self) -> bool:
        """Whether it can run."""
        return self.python.exists()


BARE = Contestant("bare_loop", "bare loop, same transactions", "benchmarks.stream.bare")
OURS = Contestant("ours", "Headrace stream", "benchmarks.stream.ours")
QUIX = Contestant("quix_exactly_once", "Quix Streams", "benchmarks.stream.peers.quix", share=0.3, peer="quix")
ARROYO = Contestant(
    "arroyo", "arroyo, batches", "benchmarks.stream.peers.arroyo_batches", "at least once", share=0.3, peer="arroyo"
)
FAUST = Contestant(
    "faust", "Faust, async for + send", "benchmarks.stream.peers.plain_faust", "at least once", share=0.04, peer="faust"
)
FAUST_TAKE = replace(FAUST, name="faust_take", title="Faust, take(512) + send", flags=("--take",))
CONTESTANTS = {c.name: c for c in (BARE, OURS, QUIX, ARROYO, FAUST, FAUST_TAKE)}
TWO = "two_processes"
"""Not another contestant: ours, in two processes of one group."""


@contextmanager
def running(who: Contestant, terms: Terms, processes: int = 1) -> Iterator[Sequence[psutil.Process]]:
    """`who` as so many processes of one group; killed at the end. Their logs are in build/bench."""
    LOGS.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=f"bench-{who.name}-")))
        line = [str(who.python), "-m", who.module, *replace(terms, folder=folder).flags(), *who.flags]
        started: list[psutil.Popen] = []
        for n in range(processes):
            log = stack.enter_context((LOGS / f"stream-{who.name}-{n}.log").open("wb"))
            started.append(psutil.Popen(line, stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **ONE_THREAD}))
        try:
            yield started
        finally:
            for process in started:
                with suppress(psutil.NoSuchProcess):  # it may have ended by itself
                    process.kill()
                process.wait(_PATIENCE_S)
