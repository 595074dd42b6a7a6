"""A pipeline of numbered events, its stream workers as processes, and what came out: for integration and fault tests.

Event n of key k is predicted as 2·n. Negative numbers are poison: -1 makes `features` raise, -2 makes the output NaN.
The environment's NUMBERED_SLOW_MS makes every forward pass take that long.
"""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec
from confluent_kafka import Consumer, Producer, TopicPartition

from headrace.contracts.events_pb2 import DeadLetter
from headrace.contracts.records import Prediction
from headrace.contracts.topics import EVENTS, PREDICTIONS, SHADOWS, dead_letters, pipeline_topics
from headrace.runtime import kafka
from tests.patience import WAIT_S

MODEL = '''"""Twice n."""
import os
import time
from collections.abc import Sequence

import msgspec
import torch
from torch import nn

from headrace import Model

SLOW_S = float(os.environ.get("NUMBERED_SLOW_MS", "0")) / 1000


class Event(msgspec.Struct):
    key: str
    n: int


class Label(msgspec.Struct):
    key: str
    y: float


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(2.0, dtype=torch.float64))

    def forward(self, n: torch.Tensor) -> torch.Tensor:
        if SLOW_S:
            time.sleep(SLOW_S)
        return n * self.factor


class Numbered(Model[Event, Label]):
    key = "key"

    def network(self) -> nn.Module:
        return Twice()

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        if any(event.n == -1 for event in events):
            raise ValueError("-1 cannot be predicted")
        return torch.tensor([float("nan") if e.n == -2 else e.n for e in events], dtype=torch.float64)

    def loss(self, outputs, labels):
        return outputs.sum()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs.tolist()

    def error(self, prediction, label):
        return abs(prediction - label.y)
'''

VARIANTS = '''"""Models beside the first: they answer the same, but for n that they refuse."""
import torch

from .model import Numbered


class Refusing(Numbered):
    """Raises where n ends in 7, is NaN where it ends in 9."""

    def features(self, events):
        if any(event.n % 10 == 7 for event in events):
            raise ValueError("7 cannot be predicted")
        return torch.tensor([float("nan") if e.n % 10 == 9 else e.n for e in events], dtype=torch.float64)
'''

HERE = Path(__file__).parent


def wait_for(condition: Callable[[], object], timeout: float, what: str) -> None:
    """Return once `condition` holds.

    Raises:
        TimeoutError: it did not within `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)


def write_whole(file: Path, text: str) -> None:
    """Write a file that somebody polls: never half of it."""
    half = file.with_suffix(".half")
    half.write_text(text)
    half.replace(file)


class Worker:
    """A stream worker's process."""

    def __init__(self, river: "PipelineRun", name: str, flags: dict[str, object], env: dict[str, str]) -> None:
        self.name = name
        self.transaction_ms = 0
        self.log = river.folder / f"{name}.log"
        self.halt_file = river.folder / f"{name}.halt"
        arguments = {
            "pipeline": river.folder, "run-dir": river.folder / "run", "kafka-bootstrap-servers": river.bootstrap,
            "instance": name, "log-format": "json", **flags,
        }  # fmt: skip
        line = [f"--{flag}={value}" for flag, value in arguments.items()]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, HERE / "stream_worker.py", *line],
                stdout=log, stderr=log, env={**os.environ, "NUMBERED_HALT": str(self.halt_file), **env},
                start_new_session=True,
            )  # fmt: skip
        self._endpoint = river.folder / "run" / "endpoints" / f"{name}.json"

    def halt(self, step: str, how: str) -> None:
        """Have it halt at its next "produce" or "offsets": see `tests/stream_worker.py`."""
        write_whole(self.halt_file, f"{step} {how}")

    @property
    def halts(self) -> bool:
        """Whether it has reached the step at which it was told to halt."""
        return not self.halt_file.exists()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        with suppress(ProcessLookupError):
            self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL, and reap."""
        self.signal(signal.SIGKILL)
        self.process.wait(WAIT_S)

    def stop(self, timeout: float = WAIT_S) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.process.wait(timeout)

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process.poll() is None

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric over its labels, 0 where it is not there (yet)."""
        try:
            ops = json.loads(self._endpoint.read_text())["endpoints"]["ops"]
            with urllib.request.urlopen(f"{ops}/metrics", timeout=5) as answer:
                lines = answer.read().decode().splitlines()
        except (OSError, KeyError, ValueError):
            return 0.0
        wanted = [f'{key}="{value}"' for key, value in labels.items()]
        found = [
            line
            for line in lines
            if line.startswith((f"headrace_inference_stream_{name}{{", f"headrace_inference_stream_{name} "))
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found if all(label in line for label in wanted))

    def ready(self) -> bool:
        """Whether it has weights and partitions; raises when it has ended instead."""
        if not self.alive:
            raise RuntimeError(f"{self.name} ended with {self.process.returncode}:\n{self.tail()}")
        return self.metric("partitions") > 0

    def tail(self) -> str:
        """The end of its log."""
        return self.log.read_text()[-4000:]


@dataclass
class Outcome:
    """What is on the sink, as a reader of committed records sees it."""

    predictions: list[tuple[bytes, Prediction]] = field(default_factory=list)
    shadows: list[tuple[bytes, Prediction]] = field(default_factory=list)
    letters: list[DeadLetter] = field(default_factory=list)

    def verdict(self, produced: dict[int, str]) -> dict[str, int]:
        """Unseen and duplicate numbers, pairs of a key out of order, wrong values; all 0 when all is well."""
        seen = Counter(round(p.prediction / 2) for _, p in self.predictions)
        newest: defaultdict[str, int] = defaultdict(lambda: -1)
        disorder = 0
        for _, prediction in self.predictions:
            n = round(prediction.prediction / 2)
            disorder += n <= newest[prediction.key]
            newest[prediction.key] = n
        return {
            "unseen": len(produced.keys() - seen.keys()),
            "duplicates": sum(count - 1 for count in seen.values()),
            "out of order": disorder,
            "strangers": sum(produced.get(round(p.prediction / 2)) != p.key for _, p in self.predictions),
        }


WELL = {"unseen": 0, "duplicates": 0, "out of order": 0, "strangers": 0}


class PipelineRun:
    """A pipeline of numbered events with its topics on a broker."""

    def __init__(
        self,
        kafka,
        folder: Path,
        *,
        partitions: int = 4,
        guarantee: str = "exactly_once",
        models: tuple[dict, ...] = (),
    ) -> None:
        self.bootstrap = kafka.bootstrap_servers
        self.name = kafka.unique("numbered")
        self.folder = folder
        self.partitions = partitions
        self.workers: list[Worker] = []
        self.produced: dict[int, str] = {}
        (folder / "model.py").write_text(MODEL)
        (folder / "variants.py").write_text(VARIANTS)
        (folder / "pipeline.yaml").write_text(
            f"name: {self.name}\nmodel: model.py:Numbered\nmodels: {json.dumps(models)}\n"
            f"topics: {{partitions: {partitions}}}\nstream: {{guarantee: {guarantee}}}\n"
        )
        shadows = any(model["role"] == "shadow" for model in models)
        kafka.create_topics({t.name: t.partitions for t in pipeline_topics(self.name, partitions, shadows=shadows)})
        self.events, self.sink = EVENTS.name(self.name), PREDICTIONS.name(self.name)
        self.shadows = [SHADOWS.name(self.name)] if shadows else []
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "enable.idempotence": True, "linger.ms": 5})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_) -> None:
        for worker in self.workers:
            worker.signal(signal.SIGCONT)
            worker.kill()

    def produce(self, numbers: Iterable[int], keys: int = 64, headers=None) -> None:
        """Events of these numbers; number n has the key k<n mod keys>."""
        for n in numbers:
            key = f"k{n % keys}"
            self.produced[n] = key
            self.send(msgspec.json.encode({"key": key, "n": n}), key, headers)
        self.flush()

    def send(self, value: bytes | None, key: str = "k0", headers=None) -> None:
        """One record, whatever it is."""
        while True:
            try:
                self._producer.produce(self.events, value, key, headers=headers)
            except BufferError:
                self._producer.poll(0.1)
            else:
                return

    def flush(self) -> None:
        """Wait for the broker's acknowledgements."""
        if left := self._producer.flush(WAIT_S):
            raise TimeoutError(f"{left} events were not acknowledged")

    def worker(
        self, name: str = "", *, wait: bool = True, env: dict[str, str] | None = None, **flags: object
    ) -> Worker:
        """Start a worker; with `wait`, return once it has partitions."""
        worker = Worker(
            self, name or f"w{len(self.workers)}", {k.replace("_", "-"): v for k, v in flags.items()}, env or {}
        )
        self.workers.append(worker)
        if wait:
            try:
                wait_for(worker.ready, WAIT_S, f"{worker.name} has no partitions")
            except TimeoutError:
                print(worker.tail())
                raise
        return worker

    @property
    def version_file(self) -> Path:
        """Names the version for workers that were started with NUMBERED_VERSION."""
        return self.folder / "version.json"

    def serve(self, version: int, kind: str) -> None:
        """Activate a version on them; the kinds are those of `tests/stream_worker.py`."""
        write_whole(self.version_file, json.dumps({"version": version, "kind": kind}))

    def read(self, predictions: int, letters: int = 0, timeout: float = WAIT_S, *, shadows: int = 0) -> Outcome:
        """What is committed, once there is as much of it as that, or when the time is over."""
        outcome = Outcome()
        dlq = dead_letters(self.events)
        reader = Consumer({
            "bootstrap.servers": self.bootstrap, "group.id": f"{self.name}.reader", "isolation.level": "read_committed",
            "enable.auto.commit": False, "auto.offset.reset": "earliest",
        })  # fmt: skip
        decode = msgspec.json.Decoder(Prediction[float]).decode
        try:
            topics = (self.sink, dlq, *self.shadows)
            reader.assign([TopicPartition(t, p, 0) for t in topics for p in range(self.partitions)])
            deadline, quiet = time.monotonic() + timeout, 0
            while time.monotonic() < deadline and quiet < 5:
                messages = reader.consume(5000, 0.1)
                for message in messages:
                    if message.error() is not None:
                        raise RuntimeError(str(message.error()))
                    if message.topic() == dlq:
                        outcome.letters.append(DeadLetter.FromString(message.value()))
                    else:
                        into = outcome.shadows if message.topic() in self.shadows else outcome.predictions
                        into.append((message.key(), decode(message.value())))
                enough = len(outcome.predictions) >= predictions and len(outcome.letters) >= letters
                enough = enough and len(outcome.shadows) >= shadows
                quiet = quiet + 1 if enough and not messages else 0
        finally:
            reader.close()
        return outcome

    def committed(self) -> int:
        """Records whose offsets are committed, over all partitions."""
        # Not as a read_committed consumer: its request waits until no transaction is open, and a busy worker always has
        # one. What an open transaction would commit is not told to the other kind either.
        reader = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"{self.name}.stream",
                "isolation.level": "read_uncommitted",
            }
        )
        wanted = [TopicPartition(self.events, p) for p in range(self.partitions)]
        try:
            found = kafka.patiently(
                lambda: reader.committed(wanted, timeout=10), f"committed offsets of {self.name}.stream"
            )
        finally:
            reader.close()
        return sum(max(0, entry.offset) for entry in found)

    def size(self) -> int:
        """Records on the topic of events, over all partitions."""
        reader = Consumer({"bootstrap.servers": self.bootstrap, "group.id": f"{self.name}.reader"})
        try:
            return sum(reader.get_watermark_offsets(TopicPartition(self.events, p))[1] for p in range(self.partitions))
        finally:
            reader.close()

    def logs(self) -> str:
        """The end of every worker's log."""
        return "\n".join(f"--- {w.name}\n{w.tail()}" for w in self.workers)
