"""The trainer on a real broker: exact over SIGKILL, and alone."""

import itertools
import math
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from confluent_kafka import Producer

from headrace.contracts.events_pb2 import CheckpointPublished, DeadLetter
from headrace.contracts.topics import CHECKPOINTS, SYSTEM_PARTITIONS, model_partition
from headrace.model.pipeline import Pipeline, load_pipeline
from headrace.runtime.errors import ExitCode, FencedError
from headrace.runtime.kafka import ensure_topics
from headrace.runtime.settings import ServiceSettings
from headrace.weights import Manifest, MemoryChunkStore
from services.trainer.checkpoint import Checkpoint, CheckpointFolder
from services.trainer.kafka import KafkaAnnouncer, KafkaExamples
from services.trainer.publishing import Publisher
from services.trainer.service import Trainer
from tests.line_kit import Recorder, example, read_all, running, write_toy
from tests.patience import WAIT_S

COUNT = 8_000


def prepare(kafka: Any, folder: Path, name: str, count: int, **training: Any) -> tuple[Path, Pipeline, ServiceSettings]:
    """A pipeline with `count` examples on its topic."""
    path = write_toy(folder / name, name, **training)
    pipeline = load_pipeline(path)
    settings = ServiceSettings(
        kafka_bootstrap_servers=kafka.bootstrap_servers, run_dir=folder / f"run-{name}"
    ).for_role("trainer")
    ensure_topics(settings, pipeline.topics)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})  # keeps their order
    rng = random.Random(3)
    for n in range(count):
        partition, offset = n % 2, n // 2
        producer.produce(f"{name}.examples", example(partition, offset, n // 3, rng.uniform(-1, 1)), b"k", partition)
    assert producer.flush(WAIT_S) == 0
    return path, pipeline, settings


def newest(settings: ServiceSettings, name: str) -> Checkpoint:
    folder = CheckpointFolder(settings.storage_folder, name)
    entry, _ = folder.readable()[0]
    return folder.read(entry)


def learned(settings: ServiceSettings, name: str) -> int:
    """Examples in the newest checkpoint; 0 while there is none."""
    readable = CheckpointFolder(settings.storage_folder, name).readable()
    return readable[0][1].examples if readable else 0


def events_of(kafka: Any, name: str) -> list[CheckpointPublished]:
    found = read_all(kafka.bootstrap_servers, CHECKPOINTS.name(), SYSTEM_PARTITIONS, 1)
    mine = [m for m in found if m.key() == name.encode()]
    assert {m.partition() for m in mine} <= {model_partition(name)}
    return [CheckpointPublished.FromString(m.value() or b"") for m in mine]


def wait(condition: Any, timeout_s: float = WAIT_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_killed_with_sigkill_it_comes_to_the_weights_of_one_that_was_not(kafka: Any, tmp_path: Path) -> None:
    names = [kafka.unique("straight"), kafka.unique("killed")]
    training = {"checkpoint_examples": 500, "checkpoint_s": 0.2, "max_wait_s": 2.0}
    prepared = [prepare(kafka, tmp_path, name, COUNT, **training) for name in names]
    arguments = [("trainer", "trainer-0", p, s.run_folder, kafka.bootstrap_servers) for p, _, s in prepared]
    settings = [s for _, _, s in prepared]
    with running(*arguments[0]) as straight, running(*arguments[1]) as killed:
        folder = CheckpointFolder(settings[1].storage_folder, names[1])
        wait(lambda: any(entry.version >= 3 for entry in folder.entries()))
        killed.stop(signal.SIGKILL)
        assert newest(settings[1], names[1]).header.examples < COUNT
        with running(*arguments[1]) as resumed:
            wait(lambda: all(learned(s, n) == COUNT for s, n in zip(settings, names, strict=True)))
            assert (straight.stop(), resumed.stop()) == (0, 0)
    left, right = (newest(s, n) for s, n in zip(settings, names, strict=True))
    assert left.header.step == right.header.step == math.ceil(COUNT / 16)
    assert all(torch.equal(tensor, right.weights[name]) for name, tensor in left.weights.items())
    events = events_of(kafka, names[1])
    assert [event.version for event in events] == list(range(1, len(events) + 1))
    assert [event.epoch for event in events] == sorted(event.epoch for event in events)
    assert {event.epoch for event in events} == {1, 2}
    assert Manifest.decode(events[-1].manifest).offsets == {f"{names[1]}.examples": right.header.offsets}


def trainer_of(pipeline: Pipeline, settings: ServiceSettings) -> tuple[Trainer, KafkaExamples, KafkaAnnouncer]:
    announcer = KafkaAnnouncer(settings, pipeline.name, transaction_timeout_ms=10_000)
    examples = KafkaExamples(settings, pipeline.name, fetch=64)
    folder = CheckpointFolder(settings.storage_folder, pipeline.name)
    publisher = Publisher(folder, MemoryChunkStore(), announcer, keep=3)
    trainer = Trainer(pipeline, examples, publisher, Recorder(), poll_s=0.05)
    trainer.start()
    return trainer, examples, announcer


def test_a_zombie_is_fenced_and_announces_nothing(kafka: Any, tmp_path: Path) -> None:
    name = kafka.unique("zombie")
    _, pipeline, settings = prepare(kafka, tmp_path, name, 64)
    zombie, *zombies_ends = trainer_of(pipeline, settings)
    while not zombie.step():
        pass
    heir, *heirs_ends = trainer_of(pipeline, settings)
    with pytest.raises(FencedError) as error:
        zombie.finish()
    assert error.value.exit_code == ExitCode.FENCED
    heir.run(iter([False] * 40 + [True] * 10).__next__)
    for end in itertools.chain(zombies_ends, heirs_ends):
        end.close()
    events = events_of(kafka, name)
    assert [(event.version, event.epoch) for event in events][:2] == [(1, 1), (2, 2)]
    assert newest(settings, name).header.epoch == 2
    assert newest(settings, name).header.examples == 64


def test_an_undecodable_example_is_on_the_dead_letter_topic_once(kafka: Any, tmp_path: Path) -> None:
    name = kafka.unique("bad")
    _, pipeline, settings = prepare(kafka, tmp_path, name, 40)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "enable.idempotence": True})  # keeps their order
    producer.produce(f"{name}.examples", b"no json", b"key", 1)
    producer.flush(WAIT_S)
    for _ in range(2):
        trainer, *ends = trainer_of(pipeline, settings)
        trainer.run(iter([False] * 40 + [True] * 10).__next__)
        for end in ends:
            end.close()
    (letter,) = [
        DeadLetter.FromString(m.value() or b"") for m in read_all(kafka.bootstrap_servers, f"{name}.examples.dlq", 2, 1)
    ]
    assert (letter.topic, letter.partition, letter.offset, letter.value) == (f"{name}.examples", 1, 20, b"no json")
    assert trainer.learner.examples == 40


def test_the_trainers_of_two_models_learn_the_same_examples_and_never_meet(kafka: Any, tmp_path: Path) -> None:
    """Checkpoints, positions and transactions apart: neither fences the other, and both come to the end."""
    name = kafka.unique("pair")
    path, pipeline, settings = prepare(kafka, tmp_path, name, 600, models=[{"name": "next", "role": "shadow"}])
    arguments = ("trainer", "trainer-0", path, settings.run_folder, kafka.bootstrap_servers)
    further = ("trainer", "trainer-next", path, settings.run_folder, kafka.bootstrap_servers, "--model", "next")
    names = (name, f"{name}.next")
    with running(*arguments) as champion, running(*further) as other:
        for trainer in (champion, other):  # ready once it is in charge of its model: two of one model would not both be
            trainer.endpoints()
        wait(lambda: all(learned(settings, model) == 600 for model in names))
        assert (champion.stop(), other.stop()) == (0, 0)
    for model in names:
        events = events_of(kafka, model)
        assert [event.version for event in events] == list(range(1, len(events) + 1))
        assert {(event.model, event.epoch) for event in events} == {(model, 1)}
    assert [other.model_name for other in pipeline.others] == [names[1]]
