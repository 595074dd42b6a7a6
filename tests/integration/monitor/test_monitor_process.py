"""The monitor as a process of its own, on a real broker: what was produced is what its snapshot says."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from headrace.contracts import snapshot as contract
from headrace.contracts import topics
from headrace.contracts.events_pb2 import Alert, CheckpointPublished, DeadLetter, RolloutDirective, WeightsApplied
from headrace.contracts.records import Prediction
from headrace.runtime import kafka as clients
from headrace.runtime.endpoints import find, read_endpoints
from headrace.runtime.settings import ServiceSettings
from tests.patience import WAIT_S

PIPELINE = """
name: {name}
model: model.py:Doubling
topics: {{partitions: 2}}
monitor: {{window: 20}}
models: {models}
"""

MODEL = """
from collections.abc import Mapping, Sequence

import msgspec
import torch

from headrace import Baseline, Model


class Event(msgspec.Struct):
    id: str
    x: float


class Label(msgspec.Struct):
    id: str
    y: float


class Zero:
    def predict(self, event: Event) -> float:
        return 0.0

    def learn(self, event: Event, label: Label) -> None:
        pass


class Doubling(Model[Event, Label]):
    key = "id"
    error_unit = "m"

    def network(self) -> torch.nn.Module:
        return torch.nn.Linear(1, 1)

    def features(self, events: Sequence[Event]) -> torch.Tensor:
        return torch.tensor([[e.x] for e in events])

    def loss(self, outputs: torch.Tensor, labels: Sequence[Label]) -> torch.Tensor:
        return outputs.mean()

    def predictions(self, outputs: torch.Tensor) -> Sequence[float]:
        return outputs[:, 0].tolist()

    def error(self, prediction: float, label: Label) -> float:
        return abs(prediction - label.y)

    def baselines(self) -> Mapping[str, Baseline]:
        return {"zero": Zero()}
"""


class Toy:
    """A pipeline's folder and its topics, and what a river would put on them."""

    def __init__(self, folder: Path, name: str, bootstrap: str, models: str = "[]") -> None:
        self.folder, self.name = folder, name
        folder.mkdir()
        (folder / "pipeline.yaml").write_text(PIPELINE.format(name=name, models=models))
        (folder / "model.py").write_text(MODEL)
        self.settings = ServiceSettings(kafka_bootstrap_servers=bootstrap)
        clients.ensure_topics(self.settings, [*topics.pipeline_topics(name, 2, shadows=True), *topics.system_topics()])
        self.producer: Producer = clients.producer(self.settings)

    def event(self, i: int) -> None:
        self._send(topics.EVENTS.name(self.name), f"k{i}", {"id": f"k{i}", "x": 1.0}, partition=i % 2)

    def label(self, i: int, y: float) -> None:
        self._send(topics.LABELS.name(self.name), f"k{i}", {"id": f"k{i}", "y": y}, partition=i % 2)

    def prediction(
        self, i: int, value: float, version: int, model: str = "", topic: topics.TopicSpec = topics.PREDICTIONS
    ) -> None:
        now = time.time()
        source = (i % 2, i // 2)
        made = Prediction(
            f"k{i}", value, model or self.name, version, "d", source, int(now * 1000) - 10, int(now * 1e6)
        )
        self._send(topic.name(self.name), f"k{i}", made, partition=i % 2)

    def system(self, topic: topics.TopicSpec, message: Any) -> None:
        partition = topics.model_partition(message.model) if topic.partitions != 1 else 0
        self.producer.produce(topic.name(), key=message.model, value=message.SerializeToString(), partition=partition)

    def _send(self, topic: str, key: str, value: Any, partition: int) -> None:
        self.producer.produce(topic, key=key, value=msgspec.json.encode(value), partition=partition)

    def flush(self) -> None:
        assert self.producer.flush(WAIT_S) == 0


class Process:
    """`python -m services.monitor`, and what it answers."""

    def __init__(self, toy: Toy, run_dir: Path) -> None:
        self.run_dir = run_dir
        self._log = (run_dir / "monitor.log").open("wb")
        command = [
            sys.executable,
            "-m",
            "services.monitor",
            "--pipeline",
            str(toy.folder),
            "--run-dir",
            str(run_dir),
        ]
        bootstrap = {"KAFKA_BOOTSTRAP_SERVERS": toy.settings.kafka_bootstrap_servers}
        self.process = subprocess.Popen(
            [*command, "--tick-s", "0.1"], stderr=self._log, env={**os.environ, **bootstrap}
        )

    def snapshot(self) -> contract.Snapshot | None:
        for url in find(self.run_dir, "monitor", "rest"):
            try:
                with urllib.request.urlopen(f"{url}/v1/snapshot", timeout=5) as answer:
                    return contract.decode(answer.read())
            except OSError:
                continue  # the file that a killed one left
        return None

    def when(self, condition: Callable[[contract.Snapshot], bool], timeout: float = WAIT_S) -> contract.Snapshot:
        deadline, seen = time.monotonic() + timeout, None
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.text()
            if (seen := self.snapshot()) is not None and condition(seen):
                return seen
            time.sleep(0.05)
        pytest.fail(f"not within {timeout} s: {seen}\n{self.text()}")

    def text(self) -> str:
        return (self.run_dir / "monitor.log").read_text()[-4000:]

    def stop(self, number: int = signal.SIGTERM) -> int:
        self._log.close()
        self.process.send_signal(number)
        return self.process.wait(WAIT_S)


@pytest.fixture
def toy(kafka: Any, tmp_path: Path) -> Toy:
    return Toy(tmp_path / "toy", kafka.unique("toy"), kafka.bootstrap_servers)


@pytest.fixture
def monitor(toy: Toy, tmp_path: Path) -> Iterator[Process]:
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    process = Process(toy, run_dir)
    yield process
    process.stop(signal.SIGKILL)


def river(toy: Toy, count: int) -> None:
    toy.system(topics.CHECKPOINTS, CheckpointPublished(model=toy.name, version=1))
    toy.system(
        topics.ROLLOUTS, RolloutDirective(model=toy.name, action=RolloutDirective.ACTIVATE, version=1, sequence=2)
    )
    toy.system(
        topics.APPLIED,
        WeightsApplied(model=toy.name, worker="s", role="stream", state=WeightsApplied.ACTIVE, version=1),
    )
    for i in range(count):
        toy.event(i)
        toy.prediction(i, value=3.0, version=1)
        toy.label(i, y=2.0)
    label_us = int(time.time() * 1e6)
    published = CheckpointPublished(model=toy.name, version=2, newest_label_us=label_us)
    toy.system(topics.CHECKPOINTS, published)
    toy.flush()


def test_what_was_produced_is_what_the_snapshot_says(toy: Toy, monitor: Process) -> None:
    river(toy, 100)
    seen = monitor.when(lambda s: s.counts.joined == 100 and s.versions.newest == 2 and bool(s.workers))
    assert (seen.counts.events, seen.counts.labels, seen.counts.predictions) == (100, 100, 100)
    assert (seen.counts.duplicates, seen.counts.missing, seen.counts.unpredicted) == (0, 0, 0)
    assert (seen.model.mean, seen.model.window, seen.baselines["zero"].mean) == (1.0, 1.0, 2.0)
    assert (seen.error_unit, seen.window) == ("m", 20)
    assert (seen.versions.newest, seen.versions.active, seen.versions.serving) == (2, 1, (1,))
    assert [(w.worker, w.state) for w in seen.workers] == [("s", "ACTIVE")]

    toy.event(100)
    toy.prediction(100, value=3.0, version=2)
    toy.prediction(7, value=3.0, version=2)
    toy.event(101)
    toy.event(103)
    toy.prediction(103, value=3.0, version=2)
    toy.flush()
    seen = monitor.when(lambda s: s.counts.predictions == 103)
    assert (seen.counts.duplicates, seen.counts.joined) == (1, 100)
    assert seen.freshness.count == 1
    assert seen.freshness.p50 is not None
    assert 0 < seen.freshness.p50 < 300
    assert monitor.stop() == 0
    assert read_endpoints(monitor.run_dir) == []


def test_a_restarted_monitor_counts_the_same_again(toy: Toy, monitor: Process) -> None:
    river(toy, 60)
    before = monitor.when(lambda s: s.counts.joined == 60)
    monitor.stop(signal.SIGKILL)
    again = Process(toy, monitor.run_dir)
    try:
        after = again.when(lambda s: s.counts.joined == 60)
        assert (after.counts, after.model, after.baselines) == (before.counts, before.model, before.baselines)
    finally:
        again.stop()


def test_bad_records_and_dead_letters_are_counted(toy: Toy, monitor: Process) -> None:
    events = topics.EVENTS.name(toy.name)
    toy.event(0)
    toy.producer.produce(events, key="k2", value=b"{not json", partition=0)
    toy.event(4)
    for i in (0, 4):
        toy.prediction(i, 3.0, 1)
    toy.flush()
    seen = monitor.when(lambda s: s.counts.predictions == 2 and s.counts.events == 3)
    assert (seen.counts.unreadable, seen.counts.missing) == (1, 1)
    letter = DeadLetter(topic=events, partition=0, offset=1, reason="decode")
    toy.producer.produce(topics.dead_letters(events), key="k2", value=letter.SerializeToString(), partition=0)
    toy.flush()
    seen = monitor.when(lambda s: s.counts.dead_letters == 1)
    assert (seen.counts.missing, seen.counts.unpredicted) == (0, 0)


def test_a_failed_worker_is_announced_on_the_alerts_topic(toy: Toy, monitor: Process) -> None:
    failed = WeightsApplied(model=toy.name, worker="s", state=WeightsApplied.FAILED, version=2, error="no chunk")
    toy.system(topics.APPLIED, failed)
    toy.flush()
    monitor.when(lambda s: [a.name for a in s.alerts] == ["worker_failed"])
    assert "no chunk" in next(a.message for a in alerts_of(toy) if a.firing)


def alerts_of(toy: Toy) -> list[Alert]:
    consumer = clients.consumer(toy.settings, f"test.{toy.name}")
    consumer.subscribe([topics.ALERTS.name()])
    found: list[Alert] = []
    deadline = time.monotonic() + WAIT_S
    while not found and time.monotonic() < deadline:
        alerts = (Alert.FromString(m.value()) for m in consumer.consume(100, 0.5) if m.error() is None)
        found += [alert for alert in alerts if alert.model == toy.name]
    consumer.close()
    return found


def test_its_metrics_and_readiness_are_served(toy: Toy, monitor: Process) -> None:
    river(toy, 10)
    monitor.when(lambda s: s.counts.joined == 10)
    (ops,) = find(monitor.run_dir, "monitor", "ops")
    with urllib.request.urlopen(f"{ops}/readyz", timeout=WAIT_S) as answer:
        assert json.load(answer)["ready"] is True
    with urllib.request.urlopen(f"{ops}/metrics", timeout=WAIT_S) as answer:
        text = answer.read().decode()
    assert f'headrace_monitor_records_total{{kind="joined",pipeline="{toy.name}"}} 10.0' in text


MODELS = (
    "[{name: c, model: model.py:Doubling, role: canary, share: 0.5}, {name: s, model: model.py:Doubling, role: shadow}]"
)


def test_models_beside_the_champion_are_scored_apart(kafka: Any, tmp_path: Path) -> None:
    """The canary's predictions from the sink, the shadow's from its own topic, by the same labels."""
    toy = Toy(tmp_path / "toy", kafka.unique("toy"), kafka.bootstrap_servers, MODELS)
    canary, shadow = f"{toy.name}.c", f"{toy.name}.s"
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    process = Process(toy, run_dir)
    try:
        toy.system(topics.CHECKPOINTS, CheckpointPublished(model=shadow, version=5))
        for i in range(60):
            toy.event(i)
            toy.prediction(i, 4.0, 2, canary) if i % 3 == 0 else toy.prediction(i, 3.0, 1)
            toy.prediction(i, 2.5, 4, shadow, topics.SHADOWS)
            toy.label(i, y=2.0)
        toy.flush()
        seen = process.when(
            lambda s: (
                s.counts.joined == 60
                and bool(s.models)
                and (s.models[2].scored, s.models[2].versions.newest) == (60, 5)
            )
        )
    finally:
        process.stop()
    assert (seen.counts.predictions, seen.counts.duplicates, seen.counts.missing) == (60, 0, 0)
    assert [(m.model, m.predictions, m.scored, m.score.mean) for m in seen.models] == [
        (toy.name, 40, 40, 1.0),
        (canary, 20, 20, 2.0),
        (shadow, 60, 60, 0.5),
    ]
    assert [m.versions.newest for m in seen.models] == [0, 0, 5]
