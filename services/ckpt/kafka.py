"""The agent's edge to Kafka: reports to headrace.applied.

It reads directives by headrace.weights.directives. The coordinator's edge is in coordinator_log.py.
"""

from confluent_kafka import KafkaError, Message, Producer

from headrace.contracts.events_pb2 import WeightsApplied
from headrace.contracts.topics import APPLIED, model_partition
from headrace.runtime import kafka
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings

log = get_logger("headrace.ckpt")


class Reports:
    """Writes reports to headrace.applied without waiting for them."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._producer: Producer = kafka.producer(settings, **{"linger.ms": 0})
        self._partitions = kafka.partitions_of(self._producer, APPLIED.name())

    def send(self, applied: WeightsApplied) -> None:
        """Queue one report."""
        self._producer.produce(
            APPLIED.name(),
            applied.SerializeToString(),
            key=f"{applied.model}/{applied.worker}".encode(),
            partition=model_partition(applied.model, self._partitions),
            on_delivery=_log_failure,
        )
        self._producer.poll(0)

    def poll(self) -> None:
        """Serve delivery reports."""
        self._producer.poll(0)

    def close(self, timeout_s: float = 5.0) -> None:
        """Wait until everything queued was written."""
        left = self._producer.flush(timeout_s)
        if left:
            log.warning("reports lost at stop", reports=left)


def _log_failure(error: KafkaError | None, message: Message) -> None:
    if error is not None:
        log.warning("report not written", key=message.key(), error=error.str())
