"""Whether the drift role keeps up with 100,000 predictions a second on one core, with 20 features.

A backlog of events and of their predictions is on a real broker. The role's own parts (`Feed`, `Watch`) read it in a
process of its own that may run on one core alone, its Kafka client's threads too. Nothing is sampled but the labels.
The processor time of that process, all its threads counted, is the figure that other load on the machine does not
change: below 1 s for 100,000 predictions it keeps up. With the backlog read, the time that the clock shows is given
too.
"""

import json
import multiprocessing
import os
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from headrace.contracts import topics
from headrace.contracts.records import Prediction
from headrace.model.pipeline import load_pipeline
from headrace.platform import LocalPlatform
from headrace.runtime import kafka

PREDICTIONS = 400_000
GOAL = 100_000.0
FEATURES = 20
_KNOWN = 60_000  # read first: the reference, and the client's warm-up

PIPELINE = """
name: wide
model: model.py:Wide
topics: {partitions: 4}
"""
MODEL = '''
"""Twenty features: sixteen numbers, a whole number, and three categories."""

from collections.abc import Sequence

import msgspec
import torch

from headrace import Model

Event = msgspec.defstruct(
    "Event",
    [("id", str), *((f"x{i}", float) for i in range(16)), ("n", int), ("colour", str), ("town", str), ("flag", bool)],
)


class Label(msgspec.Struct):
    """What was true."""

    id: str
    y: float


class Wide(Model[Event, Label]):
    """Never trained here."""

    key = "id"

    def network(self) -> torch.nn.Module:
        return torch.nn.Linear(16, 1)

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        return torch.tensor([[event.x0] for event in events])

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        return outputs.mean()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Label) -> float:
        return abs(prediction - label.y)
'''


def measure(*, full: bool) -> dict[str, Any]:
    """The part's figures. The long form reads three times as many."""
    count = PREDICTIONS * (3 if full else 1)
    with tempfile.TemporaryDirectory() as name, LocalPlatform(Path(name), env={}) as platform:
        folder = Path(name) / "wide"
        folder.mkdir()
        (folder / "pipeline.yaml").write_text(PIPELINE)
        (folder / "model.py").write_text(MODEL)
        bootstrap = platform.endpoints.kafka_bootstrap_servers
        _produce(bootstrap, _KNOWN + count)
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_read, args=(str(folder), bootstrap, count, theirs))
        process.start()
        theirs.close()
        figures: dict[str, Any] = json.loads(ours.recv())
        process.join()
    per_second = count / figures["processor_s"]
    return {
        "features": FEATURES, "predictions": count, **figures, "predictions_per_processor_second": round(per_second),
        "predictions_per_second": round(count / figures["seconds"]), "goal": GOAL, "reached": per_second >= GOAL,
    }  # fmt: skip


def _produce(bootstrap: str, count: int) -> None:
    """Events and their predictions, in batches; a minute of events to each 100,000."""
    from headrace.runtime.settings import ServiceSettings

    settings = ServiceSettings(kafka_bootstrap_servers=bootstrap)
    kafka.ensure_topics(settings, [*topics.pipeline_topics("wide", 4), *topics.system_topics()])
    rng, encode = np.random.default_rng(1), msgspec.json.encode
    producer = kafka.producer(settings, **{"linger.ms": 50, "queue.buffering.max.messages": 500_000})
    colours, towns = ["red", "green", "blue"], [f"town-{i}" for i in range(40)]
    for first in range(0, count, 10_000):
        xs = rng.normal(size=(10_000, 16)).round(4).tolist()
        whole, places = rng.integers(0, 9, 10_000).tolist(), rng.integers(0, 120, 10_000).tolist()
        for partition in range(4):
            events, predictions = [], []
            for i in range(partition, 10_000, 4):
                key, number = f"k{first + i}", first + i
                values = {f"x{j}": x for j, x in enumerate(xs[i])}
                colour, town = colours[places[i] % 3], towns[places[i] % 40]
                body = {"id": key, **values, "n": whole[i], "colour": colour, "town": town, "flag": whole[i] > 4}
                events.append({"key": key.encode(), "value": encode(body)})
                now = time.time()
                made = Prediction(
                    key, xs[i][0], "wide", 1, "d" * 32, (partition, number // 4), int(now * 1e3), int(now * 1e6)
                )
                predictions.append({"key": key.encode(), "value": encode(made)})
            producer.produce_batch(topics.EVENTS.name("wide"), events, partition=partition)
            producer.produce_batch(topics.PREDICTIONS.name("wide"), predictions, partition=partition)
        producer.flush(60)


def _read(folder: str, bootstrap: str, count: int, answer: Any) -> None:
    """The process that is measured: on one core, whatever threads it has."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = "1"
    from headrace.runtime.lifecycle import Stop
    from headrace.runtime.settings import load
    from services.drift.app import watched
    from services.drift.kafka import Feed
    from services.drift.service import Watch
    from services.drift.settings import DriftSettings
    from services.drift.state import encode

    settings = load(DriftSettings, "drift", ["--kafka-bootstrap-servers", bootstrap])
    pipeline = load_pipeline(folder)
    watch, feed = Watch(watched(pipeline, settings)), Feed(settings, pipeline)
    feed.open(Stop(), {})

    def until(predictions: int) -> None:
        while min(watch.counts["predictions"], watch.counts["events"]) < predictions:
            feed.read(watch)

    until(_KNOWN)
    before = watch.counts["predictions"], watch.counts["events"]
    started, processor = time.perf_counter(), time.process_time()
    until(_KNOWN + count)
    seconds, used = time.perf_counter() - started, time.process_time() - processor
    read = watch.counts["predictions"] - before[0], watch.counts["events"] - before[1]
    part = 2 * count / sum(read)  # of what was read meanwhile, that is counted
    figures = {
        "seconds": round(seconds * part, 2), "processor_s": round(used * part, 2), "threads": threading.active_count(),
        "resident_bytes": _resident(), "state_bytes": len(encode(watch)), "columns": len(watch.inputs.specs),
        "steady": sum(one is not None and one.state == "steady" for one in watch.inputs.references),
    }  # fmt: skip
    feed.close()
    answer.send(json.dumps(figures))


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
