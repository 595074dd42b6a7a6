"""The agent's edge to Kafka: reports to headrace.applied. Directives are read by `headrace.rollouts.feed`."""

from collections.abc import Iterable
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.contracts.topics import APPLIED, model_partition
from headrace.runtime import kafka
from headrace.runtime.brokers import watched
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings

log = get_logger("headrace.ckpt")


class Reports:
    """Writes reports to headrace.applied without waiting for them."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._producer: Producer = kafka.producer(settings, **{"linger.ms": 0}, **watched())
        self._partitions = kafka.partitions_of(self._producer, APPLIED.name())

    def send(self, reports: Iterable[WeightsApplied]) -> None:
        """Queue reports; those of a model travel together.

        Raises:
            BufferError: librdkafka's queue is full, since the broker has not answered for long.
        """
        by_model: dict[str, list[dict[str, Any]]] = {}
        for applied in reports:
            key = f"{applied.model}/{applied.worker}".encode()
            by_model.setdefault(applied.model, []).append({"key": key, "value": applied.SerializeToString()})
        for model, records in by_model.items():
            where = model_partition(model, self._partitions)
            if self._producer.produce_batch(APPLIED.name(), records, where, on_delivery=_log_failure) != len(records):
                raise BufferError(next(record["_error"].str() for record in records if "_error" in record))
        self._producer.poll(0)

    def poll(self) -> None:
        """Serve delivery reports and the client's watch; to be called every few seconds.

        Raises:
            DependencyError: the client has lost its brokers for good.
        """
        self._producer.poll(0)

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait until everything queued was written."""
        left = kafka.close(self._producer, timeout_s)
        if left:
            log.warning("reports lost at stop", reports=left)


def _log_failure(error: KafkaError | None, message: Message) -> None:
    if error is not None:
        log.warning("report not written", key=message.key(), error=error.str())
