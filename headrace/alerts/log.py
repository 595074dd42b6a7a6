"""headrace.alerts and headrace.silences: reading them as states, and writing silences. It needs no role to run."""

import contextlib
import time
import uuid
from collections.abc import Callable

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition
from google.protobuf.message import DecodeError

from headrace.alerts.state import AlertStates, Silences
from headrace.contracts import topics
from headrace.contracts.events_pb2 import Alert, Silence
from headrace.runtime import kafka
from headrace.runtime.errors import DependencyError
from headrace.runtime.logging import get_logger
from headrace.runtime.settings import ServiceSettings

log = get_logger("headrace.alerts.log")


class AlertLog:
    """Follows both topics from their beginning, or headrace.alerts alone where nobody has silenced anything yet.

    `skipped` is told of records that cannot be decoded. Not thread-safe.
    """

    def __init__(
        self,
        settings: ServiceSettings,
        states: AlertStates,
        silences: Silences,
        skipped: Callable[[str], None] = lambda what: log.warning("record cannot be decoded", what=what),
    ) -> None:
        self._states, self._silences, self._skipped = states, silences, skipped
        self._consumer: Consumer = kafka.consumer(settings, "headrace.alerts.read", **{"enable.partition.eof": True})
        alerts, silenced = topics.ALERTS.name(), topics.SILENCES.name()
        lanes = [(alerts, p) for p in range(kafka.partitions_of(self._consumer, alerts))]
        with contextlib.suppress(DependencyError):  # there is no such topic: the broker has just answered
            lanes += [(silenced, p) for p in range(kafka.partitions_of(self._consumer, silenced))]
        self._open = set(lanes)
        self._consumer.assign([TopicPartition(n, p, OFFSET_BEGINNING) for n, p in lanes])

    @property
    def is_read(self) -> bool:
        """Whether everything that was there at the start has been read."""
        return not self._open

    def poll(self, timeout: float) -> int:
        """Take what there is, waiting `timeout` seconds at most; return how many records."""
        taken = 0
        for message in self._consumer.consume(500, timeout):
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's own name
                self._open.discard((message.topic() or "", message.partition() or 0))
                continue
            self._take(kafka.check(message))
            taken += 1
        return taken

    def read_all(self, timeout_s: float = kafka.REQUEST_TIMEOUT_S) -> None:
        """Read up to the ends.

        Raises:
            DependencyError: not within `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while not self.is_read:
            if time.monotonic() > deadline:
                raise DependencyError("headrace.alerts could not be read in time", hint="is the broker up?")
            self.poll(0.2)

    def close(self) -> None:
        """Leave Kafka."""
        self._consumer.close()

    def _take(self, message: Message) -> None:
        value, key = message.value(), (message.key() or b"").decode(errors="replace")
        try:
            if message.topic() == topics.ALERTS.name():
                self._states.apply(Alert.FromString(value or b""))
            elif value is None:
                self._silences.forget(key)
            else:
                self._silences.apply(Silence.FromString(value))
        except DecodeError as error:
            self._skipped(f"{message.topic()}[{message.partition()}]@{message.offset()}: {error}")


def read_alerts(settings: ServiceSettings, skipped: Callable[[str], None]) -> tuple[AlertStates, Silences]:
    """Both topics as they are now, of every model.

    Raises:
        DependencyError: the broker does not answer, or a topic does not exist.
    """
    states, silences = AlertStates(), Silences()
    reader = AlertLog(settings, states, silences, skipped)
    try:
        reader.read_all()
    finally:
        reader.close()
    return states, silences


def new_silence(match: str, for_s: float, reason: str, by: str) -> Silence:
    """A silence from now on."""
    now = int(time.time() * 1e6)
    return Silence(
        id=f"s-{uuid.uuid4().hex[:12]}", match=match, until_us=now + int(for_s * 1e6), reason=reason, created_by=by,
        at_us=now,
    )  # fmt: skip


def write_silence(settings: ServiceSettings, identity: str, silence: Silence | None) -> None:
    """Write a silence, or end one (None). Returns once it is written.

    Raises:
        DependencyError: it could not be.
    """
    failed: list[str] = []
    producer = kafka.producer(settings)
    try:
        producer.produce(
            topics.SILENCES.name(), key=identity, value=None if silence is None else silence.SerializeToString(),
            on_delivery=lambda error, _: failed.append(error.str()) if error else None,
        )  # fmt: skip
        left = producer.flush(kafka.REQUEST_TIMEOUT_S)
    except KafkaException as error:
        raise kafka.translate(error, "writing a silence") from error
    finally:
        kafka.close(producer, 1.0)
    if left or failed:
        why = failed[0] if failed else "no answer in time"
        raise DependencyError(f"the silence could not be written: {why}", hint="is the broker up?")
