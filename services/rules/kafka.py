"""The role's edges to Kafka: headrace.rules, written in transactions, and the topics that triggers come from.

Taking a pipeline over, in this order:

1. fence: the transactional producer `headrace.rules.<pipeline>` ends whatever the role before may still be writing;
2. read the pipeline's partition of headrace.rules to its end: every run as of its last change;
3. go on reading triggers where the role before stood.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
from confluent_kafka import Consumer, KafkaException, Message, Producer, TopicPartition

from headrace.contracts.events_pb2 import Alert, DatasetVersion, Operation
from headrace.contracts.records import RuleRecord
from headrace.contracts.rule_records import RuleMemory, RuleRun
from headrace.contracts.topics import ALERTS, DATASETS, LABELS, OPERATIONS, RULES, TopicSpec, model_partition
from headrace.rollouts.feed import FAST, POLL_S, parse, reached_end
from headrace.runtime import kafka
from headrace.runtime.brokers import watched
from headrace.runtime.errors import DependencyError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings

log = get_logger("headrace.rule")

Positions = dict[str, dict[int, int]]
_TRANSACTION_MS = 15_000


@dataclass
class Recovered:
    """What the roles before recorded. `positions` is None where there was none before."""

    runs: dict[str, RuleRun] = field(default_factory=dict)
    memories: dict[str, RuleMemory] = field(default_factory=dict)
    positions: Positions | None = None


class RulesLog:
    """A pipeline's part of headrace.rules. Opening it fences every other role of the pipeline. One thread at a time."""

    def __init__(self, settings: ServiceSettings, pipeline: str) -> None:
        self._settings, self._pipeline = settings, pipeline
        self._partition = model_partition(pipeline)
        self._producer: Producer | None = None

    def open(self) -> Recovered:
        """Steps 1 and 2.

        Raises:
            DependencyError: Kafka does not answer.
        """
        # 1.
        name = f"headrace.rules.{self._pipeline}"
        self._producer = kafka.transactional_producer(
            self._settings, name, **{"transaction.timeout.ms": _TRANSACTION_MS}
        )
        # 2.
        return read_rules(self._settings, self._pipeline)

    def write(
        self,
        records: Mapping[str, RuleRecord | None],
        operations: Sequence[Operation] = (),
        alerts: Sequence[Alert] = (),
    ) -> None:
        """Write records by key (None removes what the key had), requests and alerts, in one transaction.

        Raises:
            FencedError: another role has taken the pipeline over.
            DependencyError: Kafka fails; the process must not go on, since nobody knows whether they were written.
        """
        producer = self._producer
        if producer is None:
            raise DependencyError("the log of rules is not open")
        try:
            producer.begin_transaction()
            for key, record in records.items():
                value = None if record is None else msgspec.json.encode(record)
                producer.produce(RULES.name(), value, f"{self._pipeline}/{key}".encode(), partition=self._partition)
            for topic, model, value in _events(operations, alerts):
                producer.produce(topic, value, model.encode(), partition=model_partition(model))
            producer.commit_transaction(kafka.REQUEST_TIMEOUT_S)
        except (KafkaException, BufferError) as error:
            doing = f"recording on {RULES.name()}[{self._partition}]"
            if isinstance(error, KafkaException):
                raise kafka.translate(error, doing) from error
            raise DependencyError(f"{doing}: {error}") from error

    def poll(self) -> None:
        """Take what the client has to tell; to be called every few seconds."""
        if self._producer is not None:
            self._producer.poll(0)


def _events(operations: Sequence[Operation], alerts: Sequence[Alert]) -> Iterator[tuple[str, str, bytes]]:
    for operation in operations:
        yield OPERATIONS.name(), operation.model, operation.SerializeToString()
    for alert in alerts:
        yield ALERTS.name(), alert.model, alert.SerializeToString()


def read_rules(settings: ServiceSettings, pipeline: str) -> Recovered:
    """Everything that headrace.rules says of a pipeline.

    Raises:
        DependencyError: it cannot be read to its end.
    """
    found, partition = Recovered(), model_partition(pipeline)
    reader = kafka.consumer(settings, "headrace.rules.reader", **FAST)
    try:
        reader.assign([TopicPartition(RULES.name(), partition, 0)])
        deadline = time.monotonic() + 4 * kafka.REQUEST_TIMEOUT_S
        while time.monotonic() < deadline:
            message = reader.poll(POLL_S)
            if message is None:
                continue
            if message.error() is not None:
                if reached_end(message):
                    return found
                continue
            _take(found, pipeline, message)
    finally:
        reader.close()
    raise DependencyError(f"{RULES.name()}[{partition}] could not be read to its end", hint="is the broker up?")


def _take(found: Recovered, pipeline: str, message: Message) -> None:
    key, value = (message.key() or b"").decode(errors="replace"), message.value()
    owner, _, rest = key.partition("/")
    kind, _, name = rest.partition("/")
    if owner != pipeline:
        return
    if value is None:
        found.runs.pop(name, None) if kind == "run" else None
        return
    try:
        record = msgspec.json.decode(value, type=RuleRecord)
    except msgspec.MsgspecError as error:
        where = f"{message.topic()}[{message.partition()}]@{message.offset()}"
        log.warning("record ignored", where=where, error=str(error))
        return
    if record.run is not None:
        found.runs[record.run.id] = record.run
    elif record.memory is not None:
        found.memories[record.memory.rule] = record.memory
    elif record.positions is not None:
        found.positions = record.positions


@dataclass
class Taken:
    """Records that may be triggers, each with its time in µs, and the positions behind them."""

    records: list[tuple[Alert | DatasetVersion, int]]
    positions: Positions


class TriggerFeed:
    """Reads headrace.alerts and headrace.datasets from given positions. One thread at a time."""

    _KINDS: Mapping[str, tuple[TopicSpec, type[Alert] | type[DatasetVersion]]] = {
        ALERTS.name(): (ALERTS, Alert), DATASETS.name(): (DATASETS, DatasetVersion),
    }  # fmt: skip

    def __init__(self, settings: ServiceSettings, pipeline: str) -> None:
        self._consumer: Consumer = kafka.consumer(settings, f"headrace.rules.{pipeline}", **watched())
        self._positions: Positions = {}

    def open(self, positions: Positions | None) -> Positions:
        """Begin at the positions; a topic or partition without one is read from its end on. The positions now."""
        self._positions = {}
        for topic in self._KINDS:
            partitions = range(kafka.partitions_of(self._consumer, topic))
            ends = kafka.end_offsets(self._consumer, topic, partitions)
            known = (positions or {}).get(topic, {})
            self._positions[topic] = {p: known.get(p, ends[p]) for p in partitions}
        self._consumer.assign([TopicPartition(t, p, o) for t, of in self._positions.items() for p, o in of.items()])
        return self._copy()

    def poll(self, timeout_s: float) -> Taken:
        """What came.

        Raises:
            HeadraceError: Kafka fails.
        """
        taken = Taken([], {})
        for message in self._consumer.consume(500, timeout_s):
            if message.error() is not None:
                kafka.check(message)
            topic, partition = message.topic() or "", message.partition() or 0
            self._positions[topic][partition] = (message.offset() or 0) + 1
            made = self._KINDS[topic][1]()
            if parse(message, made):
                taken.records.append((made, message.timestamp()[1] * 1000))
        taken.positions = self._copy()
        return taken

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _copy(self) -> Positions:
        return {topic: dict(of) for topic, of in self._positions.items()}


class LabelEnds:
    """Counts the labels of a pipeline by offsets. One thread at a time."""

    def __init__(self, settings: ServiceSettings, pipeline: str) -> None:
        self._topic = LABELS.name(pipeline)
        self._consumer = kafka.consumer(settings, f"headrace.rules.{pipeline}.labels")

    def total(self) -> int | None:
        """The sum of the partitions' ends; None where there is no such topic, or no broker answers."""
        try:
            partitions = range(kafka.partitions_of(self._consumer, self._topic))
            return sum(kafka.end_offsets(self._consumer, self._topic, partitions).values())
        except DependencyError as error:
            log.debug("labels cannot be counted", error=error.message)
            return None

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()
