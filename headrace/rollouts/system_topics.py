"""Reading headrace.checkpoints, .rollouts and .applied once, from a moment in the past to their ends."""

import time
from collections.abc import Mapping

import typer
from confluent_kafka import OFFSET_END, TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaError, Message, TopicPartition
from google.protobuf.message import DecodeError

from headrace.contracts import topics
from headrace.contracts.events_pb2 import CheckpointPublished, RolloutDirective, WeightsApplied
from headrace.rollouts.history import Versions
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.settings import ServiceSettings

CHECKPOINTS, ROLLOUTS, APPLIED = topics.CHECKPOINTS.name(), topics.ROLLOUTS.name(), topics.APPLIED.name()
_QUIET_S = 15.0


def read(settings: ServiceSettings, into: Versions, since: Mapping[str, float]) -> None:
    """Tell `into` every record of the topics in `since`, each from that moment (seconds since the epoch; 0: all of it).

    Raises:
        DependencyError: Kafka does not answer, or stops answering before the end.
    """
    consumer = kafka.consumer(settings, "headrace.ckpt-cli", **{"enable.partition.eof": True})
    try:
        start = [at for topic, moment in since.items() for at in _from(consumer, topic, moment)]
        behind = {(at.topic, at.partition) for at in start}
        consumer.assign(start)
        heard = time.monotonic()
        while behind:
            for message in consumer.consume(1000, 0.05):
                heard = time.monotonic()
                error = message.error()
                if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                    behind.discard((message.topic() or "", message.partition() or 0))
                else:
                    _tell(into, kafka.check(message))
            if time.monotonic() - heard > _QUIET_S:
                raise DependencyError("the system topics cannot be read to their ends", hint="is the broker up?")
    finally:
        consumer.close()


def _from(consumer: Consumer, topic: str, moment: float) -> list[TopicPartition]:
    partitions = range(kafka.partitions_of(consumer, topic))
    wanted = [TopicPartition(topic, p, int(moment * 1000)) for p in partitions]
    found = kafka.patiently(
        lambda: consumer.offsets_for_times(wanted, timeout=kafka.REQUEST_TIMEOUT_S), f"where to begin with {topic}"
    )
    for at in found:
        if at.offset < 0:  # nothing so new: its end is told at once
            at.offset = OFFSET_END
    return found


def _tell(into: Versions, message: Message) -> None:
    value = message.value()
    try:
        if value is not None:
            _decode(into, message, value)
    except DecodeError as error:  # the services pass over it too; the rest is worth showing
        where = f"{message.topic()}[{message.partition()}] at {message.offset()}"
        typer.echo(f"headrace: record ignored, {where}: {error}", err=True)


def _decode(into: Versions, message: Message, value: bytes) -> None:
    if message.topic() == CHECKPOINTS:
        kind, at_ms = message.timestamp()
        published = CheckpointPublished.FromString(value)
        into.checkpoint(published, published.created_at_us if kind == TIMESTAMP_NOT_AVAILABLE else at_ms * 1000)
    elif message.topic() == ROLLOUTS:
        into.directive(RolloutDirective.FromString(value))
    else:
        into.applied(WeightsApplied.FromString(value))
