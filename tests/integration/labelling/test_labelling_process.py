"""The role `labelling` on a real broker: each label is published once, whatever is killed, and the model learns from it."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from confluent_kafka import Producer

from headrace.contracts.records import Prediction
from headrace.contracts.topics import EXAMPLES, LABELS
from headrace.model.pipeline import load_pipeline
from headrace.runtime.kafka import ensure_topics
from headrace.runtime.settings import ServiceSettings
from services.trainer.checkpoint import CheckpointFolder
from tests.line_kit import RoleProcess, read_all, running, write_toy
from tests.patience import WAIT_S, wait_for

BASE = "/v1/labelling"


class Desk:
    """A toy pipeline, its events and predictions on Kafka, and the role's REST."""

    def __init__(self, kafka: Any, folder: Path, **labelling: Any) -> None:
        self.name, self.kafka = kafka.unique("toy"), kafka.bootstrap_servers
        self.folder = write_toy(folder / "pipeline", self.name, window_s=600, checkpoint_examples=5, checkpoint_s=0.2)
        with (self.folder / "pipeline.yaml").open("a") as file:
            file.write(f"labelling: {json.dumps({'hold_s': 0, 'after_s': 0, **labelling})}\n")
        self.run_dir = folder / "run"
        self.settings = ServiceSettings(kafka_bootstrap_servers=self.kafka, run_dir=self.run_dir).for_role("test")
        ensure_topics(self.settings, load_pipeline(self.folder).topics)
        self.producer = Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True})
        self.url = ""

    def arguments(self, role: str = "labelling", number: int = 0) -> tuple[Any, ...]:
        return role, f"{role}-{number}", self.folder, self.run_dir, self.kafka

    def serve(self, process: RoleProcess) -> None:
        self.url = process.endpoints().endpoints["rest"]

    def predict(self, numbers: range) -> None:
        """Events and their predictions; event n is the n-th of partition 0."""
        now = round(time.time() * 1000)
        for n in numbers:
            key = f"k{n}"
            self.producer.produce(f"{self.name}.events", json.dumps({"id": key, "x": n / 10}), key, partition=0)
            made = Prediction(key, 0.5, self.name, 1, "c", (0, n), now, now * 1000)
            self.producer.produce(f"{self.name}.predictions", msgspec.json.encode(made), key, partition=0)
        assert self.producer.flush(WAIT_S) == 0

    def get(self, path: str) -> Any:
        answer = httpx.get(f"{self.url}{BASE}{path}", timeout=WAIT_S)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def post(self, path: str, expect: int = 200, **body: Any) -> Any:
        answer = httpx.post(f"{self.url}{BASE}{path}", json=body, timeout=WAIT_S)
        assert answer.status_code == expect, answer.text
        return answer.json()

    def count(self, what: str, queue: str = "all") -> int:
        return int(self.get(f"/queues/{queue}")[what])

    def lease(self, labeller: str, **options: Any) -> Any:
        return self.post("/queues/all/lease", labeller=labeller, **options)["item"]

    def label_next(self, labeller: str, y: float) -> Any:
        item = self.lease(labeller)
        return self.post(f"/items/{item['id']}/label", labeller=labeller, label={"y": y})

    def labels(self, expected: int) -> list[Any]:
        """Committed records of the labels topic."""
        return read_all(self.kafka, LABELS.name(self.name), 2, expected)


@pytest.fixture
def desk(kafka: Any, tmp_path: Path) -> Iterator[Desk]:
    yield Desk(kafka, tmp_path)


def test_a_persons_label_is_joined_and_the_model_learns_from_it(desk: Desk) -> None:
    desk.predict(range(8))
    with running(*desk.arguments()) as process, running(*desk.arguments("join")), running(*desk.arguments("trainer")):
        desk.serve(process)
        wait_for(lambda: desk.count("open") == 8)
        item = desk.lease("ana")
        assert (item["id"], item["event"], item["prediction"]) == ("0-0", {"id": "k0", "x": 0.0}, 0.5)
        refused = desk.post("/items/0-0/label", 400, labeller="ana", label={"y": "high"})
        assert (refused["field"], "y: Expected `float`" in refused["error"]) == ("y", True)
        for n in range(8):
            assert desk.label_next("ana", float(n))["state"] == "published"
        assert desk.lease("ana") is None
        labels = desk.labels(8)
        examples = [
            load_pipeline(desk.folder).example_decoder.decode(m.value() or b"")
            for m in read_all(desk.kafka, EXAMPLES.name(desk.name), 2, 8)
        ]
        assert sorted((e.key, e.event.x, e.label.y) for e in examples) == [(f"k{n}", n / 10, float(n)) for n in range(8)]
        assert {m.partition() for m in labels} == {0}
        assert {dict(m.headers() or ())["headrace-labeller"] for m in labels} == {b"ana"}
        learned = CheckpointFolder(desk.settings.storage_folder, desk.name)
        wait_for(lambda: any(header.examples == 8 for _, header in learned.readable()))
        assert process.stop() == 0
