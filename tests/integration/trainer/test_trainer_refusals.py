"""On a real broker: what a gate refuses, and examples that are bad; each said once, and shown by the command line."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from confluent_kafka import Producer
from typer.testing import CliRunner

from headrace.cli.catalogue import application
from headrace.contracts.events_pb2 import CheckpointRefused, DeadLetter
from headrace.contracts.topics import REFUSALS, SYSTEM_PARTITIONS, model_partition
from headrace.model.pipeline import load_pipeline
from headrace.runtime.kafka import ensure_topics
from headrace.runtime.settings import ServiceSettings
from headrace.weights import MemoryChunkStore
from services.trainer.checkpoint import CheckpointFolder
from services.trainer.kafka import KafkaAnnouncer, KafkaExamples
from services.trainer.publishing import Publisher
from services.trainer.service import Trainer
from tests.line_kit import Recorder, example, read_all, write_toy
from tests.patience import WAIT_S


class Line:
    """A pipeline with some examples on its topic, and trainers in this process, one after the other."""

    def __init__(self, kafka: Any, folder: Path, values: list[bytes], **training: Any) -> None:
        self.kafka, self.name = kafka.bootstrap_servers, kafka.unique("gated")
        self.pipeline = load_pipeline(write_toy(folder / self.name, self.name, partitions=1, **training))
        self.settings = ServiceSettings(kafka_bootstrap_servers=self.kafka, run_dir=folder / "run").for_role("trainer")
        ensure_topics(self.settings, self.pipeline.topics)
        producer = Producer({"bootstrap.servers": self.kafka, "enable.idempotence": True})
        for value in values:
            producer.produce(f"{self.name}.examples", value, b"k", 0)
        assert producer.flush(WAIT_S) == 0
        self.folder = CheckpointFolder(self.settings.storage_folder, self.name)

    def trainer(self) -> tuple[Trainer, KafkaExamples, KafkaAnnouncer]:
        announcer = KafkaAnnouncer(self.settings, self.name, transaction_timeout_ms=10_000)
        log = KafkaExamples(self.settings, self.name, fetch=64)
        publisher = Publisher(self.folder, MemoryChunkStore(), announcer, keep=3)
        trainer = Trainer(self.pipeline, log, publisher, Recorder(), poll_s=0.05)
        trainer.start()
        return trainer, log, announcer

    def command(self, *arguments: str) -> str:
        result = CliRunner().invoke(application(), [*arguments, "--kafka", self.kafka])
        assert result.exit_code == 0, result.output
        return result.stdout


def learn(trainer: Trainer, batches: int) -> None:
    for _ in range(batches):
        while not trainer.step():
            pass


def test_a_refusal_is_on_its_topic_once_over_a_death_before_it_was_said_and_in_the_history(
    kafka: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = [example(0, o, o, math.sin(o)) for o in range(64)]
    line = Line(kafka, tmp_path, values, gates={}, checkpoint_examples=1000, checkpoint_s=1e6)
    trainer, *ends = line.trainer()
    learn(trainer, 2)
    with torch.no_grad():
        next(trainer.learner.network.parameters()).fill_(math.nan)
    monkeypatch.setattr(trainer._publisher._announcer, "refuse", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        trainer.finish()
    for end in ends:
        end.close()
    for _ in range(2):
        heir, *ends = line.trainer()
        assert heir.learner.examples == 32
        for end in ends:
            end.close()
    found = read_all(line.kafka, REFUSALS.name(), SYSTEM_PARTITIONS, 1)
    (refused,) = [m for m in found if m.key() == line.name.encode()]
    assert refused.partition() == model_partition(line.name)
    event = CheckpointRefused.FromString(refused.value() or b"")
    assert (event.version, event.published_version, event.gate) == (2, 1, "finite")
    assert [(at.partition, at.offset) for at in event.offsets] == [(0, 32)]
    newest, first = json.loads(line.command("ckpt", "history", line.name, "--json"))
    assert (newest["version"], newest["state"], newest["reason"]) == (
        2,
        "refused",
        "finite: the weights were not finite, and were taken back",
    )
    assert first["version"] == 1


def test_bad_examples_are_listed_and_shown_and_can_be_put_back(kafka: Any, tmp_path: Path) -> None:
    values = [example(0, o, o, 0.5, 1e6 if o == 7 else None) for o in range(32)]
    line = Line(kafka, tmp_path, values, checkpoint_examples=16)
    trainer, *ends = line.trainer()
    learn(trainer, 2)
    trainer.finish()
    for end in ends:
        end.close()
    (letter,) = read_all(line.kafka, f"{line.name}.examples.dlq", 1, 1)
    dead = DeadLetter.FromString(letter.value() or b"")
    assert (dead.offset, dead.phase, dead.reason) == (7, "train", "NaN or infinity in the loss")
    examples = f"{line.name}.examples"
    assert "train" in line.command("dlq", "list", examples, "--reason", "NaN")
    assert "NaN or infinity in the loss" in line.command("dlq", "show", examples, f"0:{letter.offset()}")
    line.command("dlq", "replay", examples, "--yes")
    assert [m.value() for m in read_all(line.kafka, examples, 1, 33)][-1] == values[7]
