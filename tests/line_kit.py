"""What tests of ingest, join and trainer share: a toy pipeline, twins of Kafka's ends, and roles as real processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import yaml
from confluent_kafka import Consumer, Message, TopicPartition

from headrace.contracts.events_pb2 import CheckpointPublished, CheckpointRefused
from headrace.runtime.endpoints import Endpoints, read_endpoint_file
from headrace.streams.memory import MemoryRecord
from services.trainer.checkpoint import Header, Letter
from services.trainer.learner import Learner
from services.trainer.ports import Polled
from services.trainer.publishing import Published
from tests.patience import WAIT_S

needs_compiler = pytest.mark.skipif(
    shutil.which(os.environ.get("CXX", "g++")) is None, reason="torch.compile needs a C++ compiler"
)

MODEL = '''
from collections.abc import Sequence
import random
import msgspec, torch
from headrace import Model

class Event(msgspec.Struct):
    id: str
    x: float

class Label(msgspec.Struct):
    id: str
    y: float

class Mean:
    def __init__(self): self.n, self.sum = 0, 0.0
    def predict(self, event): return self.sum / self.n if self.n else 0.0
    def learn(self, event, label): self.n, self.sum = self.n + 1, self.sum + label.y

class Toy(Model[Event, Label]):
    """y from x. Uses every random generator while training; x above 1e6 raises, x of 1e6 gives an infinite loss."""
    key = "id"

    def network(self):
        return torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Dropout(0.2), torch.nn.Tanh(), torch.nn.Linear(8, 1))

    def features(self, events):
        if any(e.x > 1e6 for e in events):
            raise ValueError("x is too large")
        return torch.tensor([[e.x] for e in events])

    def loss(self, outputs, labels):
        noise = random.random() * 1e-3 if outputs.requires_grad else 0.0
        wanted = torch.tensor([l.y for l in labels])
        scale = torch.where(wanted == 1e6, torch.inf, 1.0).max()
        return (torch.nn.functional.mse_loss(outputs[:, 0], wanted) + noise) * scale

    def predictions(self, outputs) -> Sequence[float]:
        return outputs[:, 0].tolist()

    def error(self, prediction, label):
        return abs(prediction - label.y)

    def baselines(self):
        return {"mean": Mean()}
'''


def write_toy(
    folder: Path,
    name: str = "toy",
    *,
    partitions: int = 2,
    window_s: float = 60,
    labels: Mapping[str, Any] | None = None,
    models: Sequence[Mapping[str, Any]] = (),
    **training: Any,
) -> Path:
    """A pipeline folder."""
    folder.mkdir(parents=True, exist_ok=True)
    spec = {
        "name": name,
        "model": "model.py:Toy",
        "topics": {"partitions": partitions},
        "join": {"window_s": window_s, "labels": dict(labels or {})},
        "training": {"batch_size": 16, "learning_rate": 0.01, **training},
        "models": [{"model": "model.py:Toy", **model} for model in models],
    }
    (folder / "pipeline.yaml").write_text(yaml.safe_dump(spec))
    (folder / "model.py").write_text(MODEL)
    return folder


def example(partition: int, offset: int, label_ms: int, x: float, y: float | None = None) -> bytes:
    """An example's JSON."""
    key = f"{partition}-{offset}"
    return msgspec.json.encode(
        {
            "key": key,
            "event": {"id": key, "x": x},
            "label": {"id": key, "y": 2 * x + 0.5 if y is None else y},
            "event_source": [partition, offset],
            "label_source": [partition, offset],
            "event_ms": label_ms - 5,
            "label_ms": label_ms,
        }
    )


class MemoryExamples:
    """The twin of `services.trainer.kafka.KafkaExamples`.

    Partitions as lists; `fetch` records a poll, taken in turns.
    """

    topic = "toy.examples"

    def __init__(self, values: Mapping[int, Sequence[bytes]], fetch: int = 7) -> None:
        self.values = {p: list(v) for p, v in values.items()}
        self._next = dict.fromkeys(self.values, 0)
        self._fetch, self._turn = fetch, 0

    def begin(self) -> dict[int, int]:
        return dict.fromkeys(self.values, 0)

    def seek(self, offsets: Mapping[int, int]) -> None:
        self._next = dict(offsets)

    def before(self, offsets: Mapping[int, int], count: int) -> list[bytes]:
        return [v for p, end in offsets.items() for v in self.values[p][max(0, end - count) : end]]

    def between(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> list[Any]:
        return [
            MemoryRecord(self.values[p][o], b"k", self.topic, p, o, 1000 + o)
            for p in starts
            for o in range(starts[p], ends[p])
        ]

    def poll(self, timeout_s: float) -> Polled:
        self._turn += 1
        partition = sorted(self.values)[self._turn % len(self.values)]
        start = self._next[partition]
        taken = self.values[partition][start : start + self._fetch]
        self._next[partition] += len(taken)
        records: dict[int, list[Any]] = {}
        if taken:
            records[partition] = [
                MemoryRecord(v, b"k", self.topic, partition, start + i, 1000 + start + i) for i, v in enumerate(taken)
            ]
        ended = self._next[partition] == len(self.values[partition])
        return Polled(records, {partition: self._next[partition]} if ended else {})

    def pause(self, partition: int, *, paused: bool) -> None:
        """Never far ahead."""


class MemoryAnnouncer:
    """The twin of `services.trainer.kafka.KafkaAnnouncer`.

    `failing` makes the next announcement die before it is sent.
    """

    def __init__(self) -> None:
        self.events: list[CheckpointPublished] = []
        self.refusals: list[CheckpointRefused] = []
        self.sent: list[Letter] = []
        self.failing: Exception | None = None

    def announce(self, event: CheckpointPublished, letters: Sequence[Letter]) -> None:
        if self.failing is not None:
            failing, self.failing = self.failing, None
            raise failing
        self.events.append(event)
        self.sent += letters

    def announced(self, since_us: int | None) -> list[CheckpointPublished]:
        return [event for event in self.events if since_us is None or event.created_at_us >= since_us]

    def refuse(self, event: CheckpointRefused, letters: Sequence[Letter]) -> None:
        self.refusals.append(event)
        self.sent += letters

    def refused(self, since_us: int | None) -> list[CheckpointRefused]:
        return [event for event in self.refusals if since_us is None or event.created_at_us >= since_us]

    def letters(self, since_us: int | None) -> set[tuple[int, int]]:
        return {(letter.partition, letter.offset) for letter in self.sent}


class MemoryReports:
    """The twin of `services.trainer.kafka.KafkaLostChunkReports`."""

    def __init__(self) -> None:
        self.versions: set[int] = set()

    def lost(self) -> set[int]:
        lost, self.versions = self.versions, set()
        return lost


class Recorder:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.batches, self.letters, self.restores, self.chunks_put_back = 0, 0, 0, 0
        self.damaged_files = 0
        self.refusals: list[str] = []
        self.reasons = Counter[str]()
        self.versions: list[int] = []

    def batch(self, learner: Learner, examples: int, seconds: float) -> None:
        self.batches += 1

    def dead(self, reason: str, count: int) -> None:
        self.letters += count
        self.reasons[reason] += count

    def snapshot(self, seconds: float) -> None:
        """Not of interest."""

    def restored(self) -> None:
        self.restores += 1

    def damaged(self, files: int) -> None:
        self.damaged_files += files

    def refused(self, gate: str) -> None:
        self.refusals.append(gate)

    def put_back(self, chunks: int) -> None:
        self.chunks_put_back += chunks

    def published(self, result: Published, header: Header, seconds: float) -> None:
        self.versions.append(result.version)


class RoleProcess:
    """`python -m services.<service> <role>` as a real process."""

    def __init__(self, role: str, instance: str, pipeline: Path, run_dir: Path, kafka: str, *flags: str) -> None:
        service = "ingest.join" if role == "join" else role
        self.file = run_dir / "endpoints" / f"{instance}.json"
        self.log = run_dir / f"{instance}.log"
        run_dir.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", f"services.{service}", "--pipeline", str(pipeline)]
        command += ["--run-dir", str(run_dir), "--instance", instance, "--kafka-bootstrap-servers", kafka, *flags]
        environment = {
            key: value for key, value in os.environ.items() if key not in ("REDIS_URL", "HEADRACE_REDIS_URL")
        }
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def endpoints(self, timeout_s: float = WAIT_S) -> Endpoints:
        """Its addresses, once it is ready."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline and self.process.poll() is None:
            found = read_endpoint_file(self.file)
            if found is not None and found.pid == self.process.pid and self._ready(found.endpoints.get("ops", "")):
                return found
            time.sleep(0.05)
        raise AssertionError(f"not ready, exit code {self.process.poll()}:\n{self.log.read_text()[-4000:]}")

    def _ready(self, ops: str) -> bool:
        try:
            return httpx.get(f"{ops}/readyz", timeout=5).status_code == 200
        except (httpx.TransportError, httpx.UnsupportedProtocol):
            return False

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and wait; returns the exit code."""
        self.process.send_signal(how)
        return self.process.wait(WAIT_S)


@contextmanager
def running(*arguments: Any) -> Iterator[RoleProcess]:
    """A role that is gone at the end, however the test went."""
    role = RoleProcess(*arguments)
    try:
        yield role
    finally:
        if role.process.poll() is None:
            role.process.kill()
            role.process.wait(WAIT_S)


def read_all(kafka: str, topic: str, partitions: int, expected: int, timeout_s: float = WAIT_S) -> list[Message]:
    """Committed records of a topic: returns when `expected` are there and no more came within half a second."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": "test-reader", "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, p, 0) for p in range(partitions)])
    found: list[Message] = []
    deadline = time.monotonic() + timeout_s
    try:
        while time.monotonic() < deadline:
            more = [m for m in consumer.consume(10_000, 0.5) if m.error() is None]
            found += more
            if len(found) >= expected and not more:
                break
    finally:
        consumer.close()
    return found
