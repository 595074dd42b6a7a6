"""Training on a range of the topic, and handing the result over to the live trainer, on a real broker."""

import json
import random
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from confluent_kafka import Producer
from safetensors.torch import load_file

from headrace.contracts.events_pb2 import CheckpointPublished
from headrace.contracts.topics import CHECKPOINTS, SYSTEM_PARTITIONS
from headrace.model.code import code_digest
from headrace.model.pipeline import load_pipeline
from headrace.rollouts.lineage import lineage_of
from headrace.runtime.errors import ConfigError, ExitCode
from headrace.runtime.kafka import ensure_topics
from headrace.runtime.settings import ServiceSettings
from headrace.training.job import Report, TrainingJob
from headrace.training.study import Axis, StudyJob
from services.trainer.checkpoint import Checkpoint, CheckpointFolder
from services.trainer.offline.service import run_job
from services.trainer.offline.study import run_study
from tests.line_kit import example, read_all, running, write_toy
from tests.patience import WAIT_S, wait_for

COUNT = 600
START_MS = (int(time.time()) - 7200) * 1000
"""Not so long ago that the broker's retention takes the examples away."""


class Toys:
    """A pipeline with COUNT examples in each of two partitions, a second apart."""

    def __init__(self, kafka: Any, folder: Path, **training: Any) -> None:
        self.name = kafka.unique("ondemand")
        shadow = {"name": "tuned", "role": "shadow"}
        self.path = write_toy(folder / self.name, self.name, models=[shadow], **training)
        self.folder, self.kafka = folder, kafka
        self.settings = ServiceSettings(
            kafka_bootstrap_servers=kafka.bootstrap_servers, run_dir=folder / f"run-{self.name}"
        ).for_role("trainer")
        ensure_topics(self.settings, load_pipeline(self.path).topics)
        self.produced = 0
        self.produce(COUNT)

    def produce(self, count: int) -> None:
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap_servers, "enable.idempotence": True})
        rng = random.Random(3)
        for offset in range(self.produced, self.produced + count):
            for partition in range(2):
                at = START_MS + 1000 * offset + partition
                value = example(partition, offset, at, rng.uniform(-1, 1))
                producer.produce(f"{self.name}.examples", value, b"k", partition, timestamp=at)
        assert producer.flush(WAIT_S) == 0
        self.produced += count

    def train(self, name: str = "job", **asked: Any) -> Report:
        asked = {"validation": 0.2, "test": 0.1, **asked}
        job = TrainingJob(pipeline=str(self.path), folder=str(self.folder / name), **asked)
        return run_job(job, self.settings, lambda *_: None, lambda: None)

    def newest(self, further: str = "") -> Checkpoint:
        folder = CheckpointFolder(self.settings.storage_folder, self.name + further)
        return folder.read(folder.readable()[0][0])

    def learned(self) -> int:
        readable = CheckpointFolder(self.settings.storage_folder, self.name).readable()
        return readable[0][1].examples if readable else 0


@pytest.fixture
def toys(kafka: Any, tmp_path: Path) -> Toys:
    return Toys(kafka, tmp_path, checkpoint_examples=200, checkpoint_s=0.2, max_wait_s=0.2)


def total(report: Report) -> int:
    return sum(part.examples for part in report.parts.values()) + report.purged


def test_a_range_by_offsets_and_by_time_is_exactly_that(toys: Toys) -> None:
    by_offset = toys.train("offsets", start="0:100,1:50", end="0:200,1:250")
    assert total(by_offset) == 100 + 200
    assert by_offset.data["from"] == {0: 100, 1: 50}
    assert by_offset.data["to"] == {0: 200, 1: 250}
    one = toys.train("one", start="1:10", end="1:40")
    assert (total(one), one.parts["train"].from_ms) == (30, START_MS + 10_001)
    at = [datetime.fromtimestamp(START_MS / 1000 + s, UTC).isoformat() for s in (300, 400)]
    by_time = toys.train("time", start=at[0], end=at[1])
    assert by_time.data["from"] == {0: 300, 1: 300}
    assert total(by_time) == 200
    later = toys.train("later", start=at[1])
    assert total(later) == 2 * (COUNT - 400)


@pytest.mark.parametrize(
    ("start", "words"),
    [("yesterday", "expected earliest"), ("7:0", "is no partition"), ("0:9999", "has 0 to 600"), ("latest", "no exam")],
)
def test_a_range_that_is_none_is_an_error_that_says_so(toys: Toys, start: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        toys.train(start=start)


def test_the_live_trainer_goes_on_from_what_is_handed_over_at_the_end_of_the_range(toys: Toys) -> None:
    arguments = ("trainer", "trainer-0", toys.path, toys.settings.run_folder, toys.kafka.bootstrap_servers)
    with running(*arguments) as live:
        live.endpoints()
        wait_for(lambda: toys.learned() == 2 * COUNT)
        before = toys.newest().header
        report = toys.train(end="0:500,1:400", epochs=3, hand_over=True)
        assert report.version == before.version + 1
        assert report.offsets == {0: 500, 1: 400}
        toys.produce(1)  # what the live trainer would publish next is refused, and it ends
        assert live.process.wait(WAIT_S) == ExitCode.FENCED
        toys.produce(49)
    handed = toys.newest()
    assert handed.header.version == report.version
    weights = load_file(report.weights)
    assert all(torch.equal(handed.weights[name], tensor) for name, tensor in weights.items())
    with running(*arguments) as live:
        live.endpoints()
        left = (COUNT + 50 - 500) + (COUNT + 50 - 400)
        wait_for(lambda: toys.learned() == 900 + left)
        assert live.stop() == 0
    after = toys.newest().header
    assert after.offsets == {0: COUNT + 50, 1: COUNT + 50}
    assert after.version > report.version
    heard = read_all(toys.kafka.bootstrap_servers, CHECKPOINTS.name(), SYSTEM_PARTITIONS, 1)
    mine = (m.value() or b"" for m in heard if m.key() == toys.name.encode())
    lineage = lineage_of(map(CheckpointPublished.FromString, mine), toys.name, after.version)
    assert lineage is not None
    assert lineage.complete
    live, handed_over = lineage.steps
    assert (live.base, handed_over.last) == (report.version, report.version)
    assert live.learned == {f"{toys.name}.examples": {0: (500, COUNT + 50), 1: (400, COUNT + 50)}}
    assert handed_over.origin["job"] == "job"
    assert json.loads(handed_over.origin["data"])["to"] == {"0": 500, "1": 400}
    assert live.origin["code"] == code_digest(toys.path)


def test_the_window_that_is_learned_again_is_the_newest_of_the_range(kafka: Any, tmp_path: Path) -> None:
    toys = Toys(kafka, tmp_path, replay={"window": 100, "examples": 16})
    report = toys.train(end="0:300,1:300", hand_over=True)
    learning = toys.newest().header.learning
    assert report.version == 1
    assert learning.window == {0: 250, 1: 250}
    arguments = ("trainer", "trainer-0", toys.path, toys.settings.run_folder, kafka.bootstrap_servers)
    with running(*arguments) as live:
        live.endpoints()
        wait_for(lambda: toys.learned() == 2 * COUNT)
        assert live.stop() == 0


def test_what_was_not_trained_on_the_topic_leaves_the_offsets_as_they_are(toys: Toys) -> None:
    first = toys.train("topic", end="0:300,1:200", hand_over=True)
    files = []
    for name, field in (("events", "x"), ("labels", "y")):
        files.append(toys.folder / f"{name}.jsonl")
        rows = [{"id": f"f{i}", field: i / 50 if field == "x" else i / 25} for i in range(50)]
        files[-1].write_text("\n".join(map(json.dumps, rows)))
    second = toys.train("files", data="files", events=str(files[0]), labels=str(files[1]), hand_over=True)
    assert (first.version, second.version) == (1, 2)
    assert second.offsets == {0: 300, 1: 200}


def test_what_is_worse_than_the_published_weights_is_not_handed_over(kafka: Any, tmp_path: Path) -> None:
    toys = Toys(kafka, tmp_path, gates={"worse": 1.0, "least": 10, "examples": 100})
    good = toys.train("good", epochs=5, settings={"learning_rate": 0.02}, hand_over=True)
    assert (good.version, good.refused) == (1, "")
    worse = toys.train("worse", settings={"learning_rate": 1e-9}, hand_over=True)
    assert worse.version == 0
    assert worse.refused.startswith("worse: error ")
    assert "where version 1 has" in worse.refused
    assert toys.newest().header.version == 1
    better = toys.train("better", epochs=9, settings={"learning_rate": 0.02}, hand_over=True)
    assert (better.version, better.refused) == (2, "")


class Heard:
    """What a study says of its progress."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def say(self, **what: Any) -> None:
        self.lines.append(what)


def test_a_studys_best_trial_becomes_a_version_of_a_shadow(toys: Toys) -> None:
    folder = toys.folder / "study"
    training = TrainingJob(pipeline=str(toys.path), folder=str(folder), model="tuned", validation=0.2, hand_over=True)
    study = StudyJob(training=training, space=(Axis.of("learning_rate=0.001..0.1:log"),), trials=2)
    report = run_study(study, toys.settings, Heard(), threading.Event())  # type: ignore[arg-type]
    assert (report.model, report.version, report.refused) == (f"{toys.name}.tuned", 1, "")
    handed = toys.newest(".tuned").header
    assert handed.offsets == {0: COUNT, 1: COUNT}
    assert handed.origin["job"] == f"study-trial-{report.best.number}"
    made = msgspec.json.decode((folder / handed.origin["job"] / "report.json").read_bytes(), type=Report)
    assert made.parts["validation"].error == report.best.error  # the very trial, done again
    toys.produce(10)
    again = run_study(study, toys.settings, Heard(), threading.Event())  # type: ignore[arg-type]
    assert again.version == 1
    assert toys.newest(".tuned").header.version == 1
