"""The trainer reading examples from Kafka beside the same learner over the same batches from memory."""

import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median

from benchmarks.learning.flights import FOLDER
from headrace.contracts.records import Example
from headrace.contracts.topics import EXAMPLES, system_topics
from headrace.model.pipeline import Pipeline, load_pipeline, spec_topics
from headrace.runtime import garbage, kafka
from headrace.runtime.settings import ServiceSettings
from headrace.weights import MemoryChunkStore
from services.trainer.app import PrometheusObserver
from services.trainer.batches import Item
from services.trainer.checkpoint import CheckpointFolder
from services.trainer.kafka import KafkaAnnouncer, KafkaExamples
from services.trainer.learner import Learner
from services.trainer.publishing import Publisher
from services.trainer.service import Trainer

FETCH = 2000


def from_memory(settings: ServiceSettings, count: int, rounds: int) -> dict[str, float]:
    """Examples a second of both, medians over rounds in turn, and the median of the rounds' ratios."""
    garbage.settle()  # as every role does at its start
    pipeline = load_pipeline(FOLDER)
    kafka.ensure_topics(settings, [*spec_topics(pipeline.spec), *system_topics()])
    examples = list(islice(_examples(pipeline), count))
    _produce(settings, pipeline, examples)
    pairs = [(_kafka(settings, pipeline, count, n), _memory(pipeline, examples)) for n in range(rounds)]
    return {
        "kafka": median(one for one, _ in pairs),
        "memory": median(other for _, other in pairs),
        "ratio": median(one / other for one, other in pairs),
    }


def _examples(pipeline: Pipeline):  # noqa: ANN202 - a generator of `Example`s
    events = {}
    for number, record in enumerate(pipeline.source().replay()):
        key = pipeline.model.key_of(record.value)
        if record.kind == "events":
            events[key] = record.value
        else:
            yield Example(key, events.pop(key), record.value, (0, number), (0, number), number, number)


def _produce(settings: ServiceSettings, pipeline: Pipeline, examples: list[Example]) -> None:
    import msgspec

    producer, encode = kafka.producer(settings), msgspec.json.encode
    topic, partitions = EXAMPLES.name(pipeline.name), pipeline.spec.topics.partitions
    for number, example in enumerate(examples):
        producer.produce(topic, encode(example), example.key, partition=number % partitions)
        producer.poll(0)
    producer.flush()


def _kafka(settings: ServiceSettings, pipeline: Pipeline, count: int, turn: int) -> float:
    """The role's own loop, with real checkpoints to a folder and events to Kafka."""
    with tempfile.TemporaryDirectory() as folder:
        name = f"bench-{turn}"
        announcer = KafkaAnnouncer(settings, name, pipeline.name, transaction_timeout_ms=60_000)
        log = KafkaExamples(settings, pipeline.name, model=name, fetch=FETCH)
        publisher = Publisher(CheckpointFolder(Path(folder), name), MemoryChunkStore(), announcer, keep=2)
        trainer = Trainer(pipeline, log, publisher, PrometheusObserver(name))
        trainer.start()
        started = time.perf_counter()
        while trainer.learner.examples < count - pipeline.spec.training.batch_size:
            trainer.step()
        seconds, learned = time.perf_counter() - started, trainer.learner.examples
        trainer.finish()
        log.close()
        announcer.close()
    return learned / seconds


def _memory(pipeline: Pipeline, examples: list[Example]) -> float:
    learner, size = Learner(pipeline, 2000), pipeline.spec.training.batch_size
    items = [Item(number, 0, number, example) for number, example in enumerate(examples)]
    started = time.perf_counter()
    for start in range(0, len(items), size):
        learner.learn(items[start : start + size])
    return len(items) / (time.perf_counter() - started)
