"""Reading the system topics from a moment in the past: once to their ends, or on and on."""

import time
from collections.abc import Callable, Mapping

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, TIMESTAMP_NOT_AVAILABLE, Consumer, Message, TopicPartition
from google.protobuf.message import DecodeError

from headrace.contracts import topics
from headrace.contracts.events_pb2 import CheckpointPublished, CheckpointRefused, RolloutDirective, WeightsApplied
from headrace.rollouts.feed import reached_end
from headrace.rollouts.history import RolloutHistory
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError, HeadraceError
from headrace.runtime.settings import ServiceSettings

REFUSALS = topics.REFUSALS.name()
CHECKPOINTS, ROLLOUTS, APPLIED = topics.CHECKPOINTS.name(), topics.ROLLOUTS.name(), topics.APPLIED.name()
_QUIET_S = 15.0
_POLL_S = 0.05


class TopicReader:
    """Reads topics from a moment on, in no group; from one thread.

    Args:
        settings: where Kafka is.
        since: for each topic, from when on to read, in seconds since the epoch; 0 reads all of it.

    Raises:
        DependencyError: Kafka does not answer.
    """

    def __init__(self, settings: ServiceSettings, since: Mapping[str, float]) -> None:
        # The client asks for a group's name; partitions are assigned by hand, and nothing is committed.
        self._consumer = kafka.consumer(settings, "headrace.reader", **{"enable.partition.eof": True})
        try:
            start = [at for topic, moment in since.items() for at in _from(self._consumer, topic, moment)]
        except HeadraceError:
            self._consumer.close()
            raise
        self._behind = {(at.topic, at.partition) for at in start}
        self._consumer.assign(start)
        self._heard = time.monotonic()

    @property
    def caught_up(self) -> bool:
        """Whether every partition was read to its end once."""
        return not self._behind

    @property
    def quiet_s(self) -> float:
        """Seconds since the last record, or end of a partition."""
        return time.monotonic() - self._heard

    def poll(self) -> list[Message]:
        """The next records; none after a fraction of a second.

        Raises:
            DependencyError: Kafka fails.
        """
        records = []
        for message in self._consumer.consume(1000, _POLL_S):
            if message.error() is None:
                records.append(message)
            elif reached_end(message):
                self._behind.discard((message.topic() or "", message.partition() or 0))
            else:
                continue
            self._heard = time.monotonic()
        return records

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()


def read_history(
    settings: ServiceSettings,
    into: RolloutHistory,
    since: Mapping[str, float],
    on_undecodable: Callable[[str], None] = lambda _: None,
) -> None:
    """Read system topics to their ends, each from a moment on (seconds since the epoch; 0: all of it).

    A record that cannot be decoded is skipped, and ``on_undecodable`` is called with what was wrong and where.

    Raises:
        DependencyError: Kafka does not answer, or stops answering before the end.
    """
    reader = TopicReader(settings, since)
    try:
        while not reader.caught_up:
            for message in reader.poll():
                try:
                    take(into, message)
                except DecodeError as error:
                    on_undecodable(f"{message.topic()}[{message.partition()}] at {message.offset()}: {error}")
            if reader.quiet_s > _QUIET_S:
                raise DependencyError("the system topics cannot be read to their ends", hint="is the broker up?")
    finally:
        reader.close()


def _from(consumer: Consumer, topic: str, moment: float) -> list[TopicPartition]:
    partitions = range(kafka.partitions_of(consumer, topic))
    if not moment:
        return [TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions]
    wanted = [TopicPartition(topic, p, int(moment * 1000)) for p in partitions]
    found: list[TopicPartition] = kafka.patiently(
        lambda: consumer.offsets_for_times(wanted, timeout=kafka.REQUEST_TIMEOUT_S), f"where to begin with {topic}"
    )
    for at in found:
        if at.offset < 0:  # nothing so new: its end is told at once
            at.offset = OFFSET_END
    return found


def take(into: RolloutHistory, message: Message) -> None:
    """Take a record of any of these topics.

    Raises:
        DecodeError: it cannot be decoded.
    """
    value = message.value()
    if value is None:
        return
    if message.topic() == CHECKPOINTS:
        kind, at_ms = message.timestamp()
        published = CheckpointPublished.FromString(value)
        into.on_checkpoint(published, published.created_at_us if kind == TIMESTAMP_NOT_AVAILABLE else at_ms * 1000)
    elif message.topic() == REFUSALS:
        into.on_refusal(CheckpointRefused.FromString(value))
    elif message.topic() == ROLLOUTS:
        into.on_directive(RolloutDirective.FromString(value))
    else:
        into.on_report(WeightsApplied.FromString(value))
