"""Every directive of the coordinators: the compacted headrace.rollouts from its beginning, and then live."""

from collections.abc import Callable
from typing import Any, Protocol

from confluent_kafka import KafkaError, Message, TopicPartition
from google.protobuf.message import DecodeError
from google.protobuf.message import Message as Proto

from headrace.contracts.events_pb2 import RolloutDirective
from headrace.contracts.topics import ROLLOUTS, model_partition
from headrace.runtime import kafka
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings

log = get_logger("headrace.directives")

POLL_S = 0.2
FAST: dict[str, Any] = {
    "fetch.wait.max.ms": 100,  # the broker answers at once when there is a record; an end of partition after this
    "fetch.min.bytes": 1,
    "enable.partition.eof": True,
    "reconnect.backoff.max.ms": 1000,
}
"""For consumers that wait for single small records, where only latency counts."""


def parse(message: Message, into: Proto) -> bool:
    """Decode a record's value; False, with a log line, if that fails: a bad record must not stop a rollout."""
    value = message.value()
    try:
        into.ParseFromString(value or b"")
    except DecodeError as error:
        where = f"{message.topic()}[{message.partition()}] at {message.offset()}"
        log.warning("record ignored", where=where, error=str(error))
        return False
    return value is not None


def reached_end(message: Message) -> bool:
    """Whether an event that is no record says that its partition was read to its end; False for errors that pass.

    Raises:
        HeadraceError: the client cannot go on.
    """
    error = message.error()
    if error is None:
        return False
    if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
        return True
    if error.retriable() or error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
        return False
    kafka.check(message)
    return False


class StopSignal(Protocol):
    """A `Stop`, or a threading.Event."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...


class DirectiveFeed:
    """Reads every directive, oldest first, and then the new ones as they come.

    `run` calls ``on_directive`` for each, and ``on_caught_up`` once when everything written before was read.

    Args:
        settings: where Kafka is.
        model: read only this model's partition, which may hold other models' directives too; "" reads all partitions.
    """

    def __init__(self, settings: ServiceSettings, model: str = "") -> None:
        # The group's name is needed by the client and never used: partitions are assigned by hand and nothing is
        # committed.
        self._consumer = kafka.consumer(settings, f"headrace.directives.{settings.instance}", **FAST)
        self._model = model

    def run(
        self, stop: StopSignal, on_directive: Callable[[RolloutDirective], None], on_caught_up: Callable[[], None]
    ) -> None:
        """Read until stopped; blocks."""
        try:
            count = kafka.partitions_of(self._consumer, ROLLOUTS.name())
            partitions = [model_partition(self._model, count)] if self._model else list(range(count))
            self._consumer.assign([TopicPartition(ROLLOUTS.name(), p, 0) for p in partitions])
            behind = set(partitions)
            while not stop.is_set():
                message = self._consumer.poll(POLL_S)
                if message is None:
                    continue
                if message.error() is not None:
                    if reached_end(message) and message.partition() in behind:
                        behind.discard(message.partition())
                        if not behind:
                            on_caught_up()
                    continue
                directive = RolloutDirective()
                if parse(message, directive):
                    on_directive(directive)
        finally:
            self._consumer.close()
