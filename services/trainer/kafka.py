"""The trainer's ends on Kafka.

Examples by assign and seek, checkpoints by transactions, what agents report as it comes.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from confluent_kafka import OFFSET_END, Consumer, KafkaException, Message, TopicPartition

from headrace.contracts.events_pb2 import CheckpointPublished, CheckpointRefused, DeadLetter, WeightsApplied
from headrace.contracts.topics import APPLIED, CHECKPOINTS, EXAMPLES, REFUSALS, dead_letters, model_partition
from headrace.rollouts.feed import parse
from headrace.runtime import kafka
from headrace.runtime.errors import DataError, DependencyError
from headrace.runtime.settings import ServiceSettings
from headrace.streams.polled import by_partition, without_errors
from services.trainer.checkpoint import Letter
from services.trainer.ports import Polled

CALL_S = 15.0
_EOF = {"enable.partition.eof": True}
_UNHURRIED = {"fetch.wait.max.ms": 500}


def transactional_id(model: str) -> str:
    """One a model, wherever its trainer runs: a new trainer fences the one before."""
    return f"headrace.trainer.{model}"


class KafkaExamples:
    """See `services.trainer.ports.ExampleLog`. One thread."""

    def __init__(self, settings: ServiceSettings, pipeline: str, *, model: str = "", fetch: int) -> None:
        self.topic = EXAMPLES.name(pipeline)
        self._settings, self._fetch = settings, fetch
        self._group = transactional_id(model or pipeline)
        self._consumer: Consumer = kafka.consumer(settings, self._group, **_EOF)
        self._paused: set[int] = set()

    def begin(self) -> dict[int, int]:
        """See `ExampleLog`."""
        return {partition: low for partition, (low, _) in self._bounds().items()}

    def seek(self, offsets: Mapping[int, int]) -> None:
        """See `ExampleLog`.

        Raises:
            DataError: an offset lies beyond the end: the topic is not the one that the checkpoint was trained on.
        """
        for partition, (_, high) in self._bounds().items():
            if offsets[partition] > high:
                raise DataError(
                    f"{self.topic}[{partition}] ends at {high}, but the checkpoint has learned up to "
                    f"{offsets[partition]}: the topic was made anew",
                    hint="move the model's checkpoints away to begin anew",
                )
        self._consumer.assign([TopicPartition(self.topic, p, offset) for p, offset in offsets.items()])

    def before(self, offsets: Mapping[int, int], count: int) -> list[bytes]:
        """See `ExampleLog`."""
        share = -(-count // max(1, len(offsets)))
        lows = self.begin()
        starts = {p: max(lows[p], offset - share) for p, offset in offsets.items()}
        found = read(self._settings, self.topic, starts, offsets)
        found.sort(key=lambda m: (m.timestamp()[1], m.partition() or 0, m.offset() or 0))
        return [message.value() or b"" for message in found]

    def between(self, starts: Mapping[int, int], ends: Mapping[int, int]) -> list[Message]:
        """See `ExampleLog`."""
        return read(self._settings, self.topic, starts, ends)

    def poll(self, timeout_s: float) -> Polled:
        """See `ExampleLog`."""
        polled = Polled()
        messages, ends = without_errors(_consume(self._consumer, self._fetch, timeout_s, self.topic))
        polled.records = {int(found[0].partition() or 0): found for found in by_partition(messages)}
        for end in ends:
            partition, offset = int(end.partition() or 0), int(end.offset() or 0)
            if partition not in polled.records or (polled.records[partition][-1].offset() or 0) < offset:
                polled.ends[partition] = offset
        return polled

    def pause(self, partition: int, *, paused: bool) -> None:
        """See `ExampleLog`."""
        if paused != (partition in self._paused):
            where = [TopicPartition(self.topic, partition)]
            (self._consumer.pause if paused else self._consumer.resume)(where)
            (self._paused.add if paused else self._paused.discard)(partition)

    def lag(self, positions: Mapping[int, int]) -> int:
        """Examples after `positions`, as far as the last fetches know."""
        total = 0
        for partition, position in positions.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self.topic, partition), cached=True)
            total += max(0, high - position)
        return total

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()

    def _bounds(self) -> dict[int, tuple[int, int]]:
        partitions = [TopicPartition(self.topic, p) for p in range(kafka.partitions_of(self._consumer, self.topic))]

        def ask() -> dict[int, tuple[int, int]]:
            return {tp.partition: self._consumer.get_watermark_offsets(tp, timeout=CALL_S) for tp in partitions}

        return kafka.patiently(ask, f"asking for the ends of {self.topic}")


class KafkaLostChunkReports:
    """See `ports.LostChunkReports`. Reads headrace.applied from now on: agents repeat what matters. One thread."""

    def __init__(self, settings: ServiceSettings, model: str) -> None:
        self._model = model
        self._consumer: Consumer = kafka.consumer(settings, f"{transactional_id(model)}.lost-chunks", **_UNHURRIED)
        partition = model_partition(model, kafka.partitions_of(self._consumer, APPLIED.name()))
        self._consumer.assign([TopicPartition(APPLIED.name(), partition, OFFSET_END)])

    def lost(self) -> set[int]:
        """See `LostChunkReports`."""
        found: set[int] = set()
        while messages := _consume(self._consumer, 1000, 0.0, APPLIED.name()):
            for message in messages:
                applied = WeightsApplied()
                if parse(message, applied) and applied.model == self._model and applied.chunks_lost:
                    found.add(applied.version)
        return found

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close()


class KafkaAnnouncer:
    """See `services.trainer.publishing.Announcer`. Opening it fences every other trainer of the model."""

    def __init__(
        self, settings: ServiceSettings, model: str, pipeline: str = "", *, transaction_timeout_ms: int
    ) -> None:
        self._settings, self._model = settings, model
        self._topic, self._letters = CHECKPOINTS.name(), dead_letters(EXAMPLES.name(pipeline or model))
        config: dict[str, Any] = {"transaction.timeout.ms": transaction_timeout_ms}
        self._producer = kafka.transactional_producer(settings, transactional_id(model), **config)
        self._usable = True
        self._partition = model_partition(model, kafka.partitions_of(self._producer, self._topic))

    def announce(self, event: CheckpointPublished, letters: Sequence[Letter]) -> None:
        """See `Announcer`."""
        self._send(self._topic, event, letters)

    def refuse(self, event: CheckpointRefused, letters: Sequence[Letter]) -> None:
        """See `Announcer`."""
        self._send(REFUSALS.name(), event, letters)

    def _send(self, topic: str, event: CheckpointPublished | CheckpointRefused, letters: Sequence[Letter]) -> None:
        doing = f"announcing version {event.version} of {self._model} on {topic}[{self._partition}]"
        try:
            self._producer.begin_transaction()
            for letter in letters:
                self._producer.produce(self._letters, letter.value, letter.key, partition=letter.partition)
            self._producer.produce(topic, event.SerializeToString(), self._model.encode(), partition=self._partition)
            self._commit()
        except (KafkaException, BufferError) as error:
            self._usable = False
            if isinstance(error, KafkaException):
                raise kafka.translate(error, doing) from error
            raise DependencyError(f"{doing}: {error}") from error

    def _commit(self) -> None:
        """Commit; librdkafka says which errors a second call may heal.

        Any other ends this trainer; the next does it again.
        """
        deadline = time.monotonic() + CALL_S
        while True:
            try:
                self._producer.commit_transaction(CALL_S)
            except KafkaException as error:
                if not error.args[0].retriable() or time.monotonic() > deadline:
                    raise
            else:
                return

    def announced(self, since_us: int | None) -> list[CheckpointPublished]:
        """See `Announcer`."""
        return [CheckpointPublished.FromString(value) for value in self._mine(self._topic, since_us)]

    def refused(self, since_us: int | None) -> list[CheckpointRefused]:
        """See `Announcer`."""
        return [CheckpointRefused.FromString(value) for value in self._mine(REFUSALS.name(), since_us)]

    def _mine(self, topic: str, since_us: int | None) -> list[bytes]:
        """The values of the model's records."""
        messages = _since(self._settings, topic, [self._partition], since_us)
        return [message.value() or b"" for message in messages if message.key() == self._model.encode()]

    def letters(self, since_us: int | None) -> set[tuple[int, int]]:
        """See `Announcer`. A pipeline whose topics are still to be made has none."""
        doing = "asking the broker for its topics"
        known = kafka.patiently(lambda: self._producer.list_topics(timeout=CALL_S).topics, doing)
        if self._letters not in known:
            return set()
        partitions = range(kafka.partitions_of(self._producer, self._letters))
        messages = _since(self._settings, self._letters, partitions, since_us)
        letters = [DeadLetter.FromString(message.value() or b"") for message in messages]
        mine = [letter for letter in letters if (letter.service, letter.model) == ("trainer", self._model)]
        return {(letter.partition, letter.offset) for letter in mine}

    def close(self) -> None:
        """Disconnect. After a failure there is nothing to finish: the successor aborts what was left open."""
        if self._usable:
            self._producer.close()


def read(
    settings: ServiceSettings, topic: str, starts: Mapping[int, int], ends: Mapping[int, int] | None = None
) -> list[Message]:
    """Everything committed from `starts` up to `ends`, or to where the partitions end now."""
    consumer = kafka.consumer(settings, "headrace.trainer.read", **_EOF)
    found: list[Message] = []
    left = {p for p, start in starts.items() if ends is None or start < ends[p]}
    try:
        consumer.assign([TopicPartition(topic, p, starts[p]) for p in left])
        while left:
            for message in _consume(consumer, 4096, 0.1, topic):
                partition, offset = int(message.partition() or 0), int(message.offset() or 0)
                ended = kafka.at_end(message)
                if not ended and (ends is None or offset < ends[partition]):
                    found.append(message)
                if ended or (ends is not None and offset + 1 >= ends[partition]):
                    left.discard(partition)
    finally:
        consumer.close()
    return found


def _since(settings: ServiceSettings, topic: str, partitions: Sequence[int], since_us: int | None) -> list[Message]:
    """Everything committed that is not older than a time, by the records' timestamps; None: everything."""
    if since_us is None:
        return read(settings, topic, dict.fromkeys(partitions, 0))
    consumer = kafka.consumer(settings, "headrace.trainer.read")
    where = [TopicPartition(topic, p, max(0, since_us // 1000)) for p in partitions]
    try:
        doing = f"finding the offsets of a time in {topic}"
        found = kafka.patiently(lambda: consumer.offsets_for_times(where, timeout=CALL_S), doing)
        ends = kafka.end_offsets(consumer, topic, partitions)
    finally:
        consumer.close()
    starts = {tp.partition: int(tp.offset) if tp.offset >= 0 else ends[tp.partition] for tp in found}
    return read(settings, topic, starts)


def _consume(consumer: Consumer, count: int, timeout_s: float, topic: str) -> list[Message]:
    try:
        messages = consumer.consume(count, timeout_s)
    except KafkaException as error:
        raise kafka.translate(error, f"reading {topic}") from error
    for message in messages:
        if message.error() is not None and not kafka.at_end(message):
            kafka.check(message)
    return messages
