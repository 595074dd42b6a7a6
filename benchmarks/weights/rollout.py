"""From a checkpoint's event to every worker serving it, step by step, and what requests notice meanwhile."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

from benchmarks.weights.fleet import fleet, versions
from benchmarks.weights.latency import AFTERMATH_S, Comparison, Window, compare
from benchmarks.weights.report import Part, table
from benchmarks.weights.worker import WIDTH
from headrace.contracts.events_pb2 import CheckpointPublished, WeightsApplied
from headrace.contracts.topics import APPLIED, CHECKPOINTS, model_partition, system_topics
from headrace.runtime import kafka
from headrace.runtime.settings import ServiceSettings

LOAD = 0.5
"""What requests take of the cores' time: of one core for one worker, of all for as many workers or more."""
_STEPS = ("announce", "pull", "map", "check", "load", "warm_up", "activate")
"""As agents and workers report them."""


@dataclass(frozen=True)
class Scale:
    """What is rolled out."""

    rows: int
    skipped: int
    """Versions that warm everything up: slots are touched, caches filled, and the broker's virtual machine compiles."""
    versions: int
    every_s: float
    rounds: int


@dataclass(frozen=True)
class Fleet:
    """Workers on the host; with real-time priority if so, where this process may give it."""

    workers: int
    realtime: bool = False

    def __str__(self) -> str:
        """As the tables call it."""
        return f"{self.workers} worker{'s' * (self.workers > 1)}{' in real time' * self.realtime}"


@dataclass(frozen=True)
class Rollouts:
    """What one fleet did; `event_ms` is from an event's production until the last worker serves its version."""

    bytes: int
    workers: int
    versions: int
    offered: float
    """Requests/s to all workers."""
    event_ms: tuple[float, float, float]
    """p50, p99, worst."""
    latency: Comparison
    failed_requests: int
    steps_ms: dict[str, float]
    """Medians over versions and workers."""


def rollouts(settings: ServiceSettings, name: str, scale: Scale, fleets: Sequence[Fleet]) -> dict[str, Rollouts]:
    """Roll versions out to one fleet after another, of so many workers each."""
    kafka.ensure_topics(settings, system_topics())
    model, each = f"swaps-{name.replace(' ', '')}", scale.skipped + scale.versions
    events = versions(settings, model, scale.rows, each * len(fleets))
    return {
        f"{name}, {of}": _rollout(settings, model, scale, of, events[n * each :][:each]) for n, of in enumerate(fleets)
    }


def _rollout(
    settings: ServiceSettings, model: str, scale: Scale, of: Fleet, events: Sequence[CheckpointPublished]
) -> Rollouts:
    """Announce one version after another to a fleet whose requests take half of its cores' time."""
    workers = of.workers
    reports = _Reports(settings, model)
    announcer = _Announcer(settings, model)
    with fleet(settings, model, scale.rows, workers, realtime=of.realtime) as fleet_workers:
        announced = [announcer.announce(events[0], fleet_workers)]
        for worker in fleet_workers:
            worker.tell("measure")
        cost = sum(worker.cost() for worker in fleet_workers) / workers
        offered = LOAD * min(workers, os.cpu_count() or 1) / cost
        for worker in fleet_workers:
            worker.tell(f"offer {offered / workers}")
        for event in events[1:]:
            announced.append(announcer.announce(event, fleet_workers))
            following = max(announced[-1].begun + scale.every_s, announced[-1].end + scale.every_s / 2)
            time.sleep(max(0.0, following - time.time()))
        time.sleep(scale.every_s)
        answered = [worker.requests() for worker in fleet_workers]
    counted = announced[scale.skipped :]
    windows = [(one.begun, one.end + AFTERMATH_S) for one in counted]
    requests = np.concatenate(answered)
    took = [(one.end - one.begun) * 1000 for one in counted]
    p50, p99, worst = (float(v) for v in np.percentile(took, [50, 99, 100]))
    return Rollouts(
        bytes=scale.rows * WIDTH * 4,
        workers=workers,
        versions=len(counted),
        offered=offered,
        event_ms=(p50, p99, worst),
        latency=_compared(requests, windows, scale.rounds),
        failed_requests=int(requests[:, 2].sum()),
        steps_ms=_steps(counted, reports.read(), answered),
    )


@dataclass(frozen=True)
class _Announced:
    """A version's event was produced at `begun`; each worker served it `at`."""

    version: int
    begun: float
    at: list[float]

    @property
    def end(self) -> float:
        return max(self.at)


class _Announcer:
    def __init__(self, settings: ServiceSettings, model: str) -> None:
        self._producer = kafka.producer(settings, **{"linger.ms": 0})
        self._model = model

    def announce(self, event: CheckpointPublished, workers: list[Any]) -> _Announced:
        """Produce an event, and wait until everybody serves its version."""
        begun = time.time()
        self._producer.produce(CHECKPOINTS.name(), event.SerializeToString(), self._model, model_partition(self._model))
        self._producer.flush()
        return _Announced(event.version, begun, [worker.serves(event.version)["at"] for worker in workers])


class _Reports:
    """headrace.applied, of one model."""

    def __init__(self, settings: ServiceSettings, model: str) -> None:
        self._model = model
        self._consumer: Consumer = kafka.consumer(settings, f"bench-{model}")
        self._consumer.assign([TopicPartition(APPLIED.name(), model_partition(model), OFFSET_BEGINNING)])

    def read(self) -> list[WeightsApplied]:
        """What workers began to serve."""
        found = []
        while messages := self._consumer.consume(1000, timeout=1):
            values = [value for message in messages if not message.error() and (value := message.value())]
            applied = [WeightsApplied.FromString(value) for value in values]
            found += [one for one in applied if one.model == self._model and one.state == WeightsApplied.ACTIVE]
        self._consumer.close()
        return found


def _compared(requests: np.ndarray, windows: list[Window], rounds: int) -> Comparison:
    ordered = requests[np.argsort(requests[:, 0])]
    return compare(ordered[ordered[:, 0] >= windows[0][0]][:, :2], windows, rounds)


def _steps(announced: list[_Announced], reports: list[WeightsApplied], answered: list[np.ndarray]) -> dict[str, float]:
    counted = {one.version for one in announced}
    seconds = [dict(report.seconds) for report in reports if report.version in counted]
    steps = {name: float(np.median([of.get(name, 0.0) for of in seconds])) for name in _STEPS}
    served = [
        first - at
        for one in announced
        for at, requests in zip(one.at, answered, strict=True)
        if (first := _first(requests, one.version)) is not None
    ]
    total = float(np.median([at - one.begun for one in announced for at in one.at]))
    named = {name: value * 1000 for name, value in steps.items()}
    rest = total * 1000 - sum(named.values())
    return {**named, "kafka_and_acknowledgements": rest, "first_served": float(np.median(served)) * 1000}


def _first(requests: np.ndarray, version: int) -> float | None:
    """When the first request was answered by a version."""
    of_it = requests[requests[:, 3] == version]
    return float(of_it[0, 0] + of_it[0, 1]) if len(of_it) else None


def part(measured: dict[str, Rollouts]) -> Part:
    """Tables and figures, by the rollouts' names; the ratio is of the first."""
    times = table("Coordinator, agent, workers: ms", "", "versions", "p50", "p99", "worst", "p99 ratio", "of chance")
    steps = table("Steps, medians in ms", "", *next(iter(measured.values())).steps_ms)
    for name, of in measured.items():
        p50, p99, worst = of.event_ms
        times.add_row(f"{name}: event to all serving", str(of.versions), f"{p50:.1f}", f"{p99:.1f}", f"{worst:.1f}")
        for what, some in (("steady", of.latency.steady), ("in swaps", of.latency.swaps)):
            row = [f"{some.p50:.2f}", f"{some.p99:.2f}", f"{some.worst:.2f}"]
            ratios = [
                f"{r.median:.2f} ({r.least:.2f} to {r.greatest:.2f})" for r in (of.latency.ratio, of.latency.chance)
            ]
            times.add_row(
                f"{name}: {some.requests:,} requests {what}", "", *row, *(ratios if what == "in swaps" else ())
            )
        steps.add_row(name, *(f"{value:.2f}" for value in of.steps_ms.values()))
    first = next(iter(measured.values()))
    return Part(
        {
            "failed_requests": sum(of.failed_requests for of in measured.values()),
            **{f"rollout {name}": asdict(of) for name, of in measured.items()},
        },
        {f"p99_swap_over_steady {name}": of.latency.ratio.median for name, of in measured.items()}
        | {"p99_swap_over_steady": first.latency.ratio.median},
        [times, steps],
    )
