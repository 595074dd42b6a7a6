"""Rounds of samples: every process of the run is asked, and what it says goes to headrace.metrics."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from headrace.contracts.records import Sample, Samples
from headrace.contracts.snapshot import decode
from headrace.runtime.endpoints import read_endpoints
from headrace.runtime.http import fetch
from services.archive import metrics
from services.archive.scraping import Process, snapshot_samples

MONITOR = "monitor"
_TIMEOUT_S = 2.0


class Sink(Protocol):
    """Where samples go."""

    def send(self, samples: Samples) -> None:
        """Take what was measured at one time."""
        ...


@dataclass(frozen=True)
class Target:
    """A process to ask: its role, its name, and where its metrics are; of a monitor, its snapshot too."""

    role: str
    instance: str
    ops: str
    rest: str = ""


def targets_of(run_dir: Path, further: Sequence[str]) -> list[Target]:
    """The processes of a run, and further addresses."""
    found = [
        Target(one.role, one.instance, one.endpoints["ops"], one.endpoints.get("rest", ""))
        for one in read_endpoints(run_dir)
        if "ops" in one.endpoints
    ]
    return [*found, *(Target("other", url, url) for url in further)]


class Sampler:
    """Asks the processes of a run, round after round.

    Args:
        pipeline: whose samples they are.
        targets: finds the processes.
        sink: takes the samples.
        most: series of one round.
        ask: the body at an address; None where there is no answer in time.
        wall, clock: seconds since the epoch, and of a clock that never goes back.
    """

    def __init__(
        self, pipeline: str, targets: Callable[[], Sequence[Target]], sink: Sink, *, most: int,
        ask: Callable[[str, float], bytes | None] = fetch,
        wall: Callable[[], float] = time.time, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._pipeline, self._targets, self._sink, self._most = pipeline, targets, sink, most
        self._ask, self._wall, self._clock = ask, wall, clock
        self._processes = dict[str, Process]()

    def round(self) -> int:
        """Ask every process once; returns how many samples were sent."""
        targets, sent = self._targets(), 0
        self._processes = {
            one.instance: self._processes.get(one.instance) or Process(one.role, one.instance) for one in targets
        }
        for target in targets:
            made = self._of(target)
            left = max(0, self._most - sent)
            metrics.DROPPED.inc(max(0, len(made) - left))
            if kept := made[:left]:
                self._sink.send(Samples(self._pipeline, int(self._wall() * 1e6), target.instance, kept))
                metrics.SAMPLES.labels(target.instance).inc(len(kept))
            sent += len(kept)
        return sent

    def _of(self, target: Target) -> list[Sample]:
        text = self._ask(f"{target.ops.rstrip('/')}/metrics", _TIMEOUT_S)
        if text is None:
            metrics.UNREACHED.inc()
            return []
        made = self._processes[target.instance].samples(text.decode(errors="replace"), self._clock())
        return [*self._of_snapshot(target), *made] if target.role == MONITOR and target.rest else made

    def _of_snapshot(self, target: Target) -> list[Sample]:
        body = self._ask(f"{target.rest}/v1/snapshot", _TIMEOUT_S)
        try:
            snapshot = decode(body) if body else None
        except msgspec.MsgspecError:
            metrics.UNREACHED.inc()
            return []
        return snapshot_samples(snapshot) if snapshot and snapshot.pipeline == self._pipeline else []
